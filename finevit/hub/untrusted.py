"""Checkpoint files of anybody, read without running any code of theirs.

A pickle names functions that are called when it is read. Here it may name those that rebuild tensors and plain values (torch's
"weights only"), and what MMEngine and NumPy write beside them, for each of which a stand-in of this module is taken: HistoryBuffer,
arrays and numbers. MMEngine reads its files by the same road. ``--trust-checkpoint`` lifts this for files that a user made.
"""

import json
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import torch
from mmengine.runner import checkpoint as mmengine_checkpoint
from safetensors import safe_open
from torch import Tensor

from finevit.config.renamed import rename_settings, rename_weights
from finevit.hub.kinds import wrong_kind
from finevit.hub.locate import first_line
from finevit.hub.stand_ins import ALLOWED, histories, real
from finevit.hub.trust import OFFER, trusted
from finevit.storage.durable import DIGEST, check_digest
from finevit.storage.regular import check_regular

MARK = "finevit_format"
"""What the file's metadata has."""
STAGES = {"I": "MaskedDistillation", "II": "ContrastiveLearning", "III": "LLMAlignment"}
"""Which model a stage trains."""
PLACES = ("", "encoder.")
"""Under what the exports of an encoder alone, and for Hugging Face, keep it."""


def in_model(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights by their names in a model: the encoder's under ``backbone.``."""
    for place in PLACES:
        if f"{place}embed.weight" in weights:
            names = {name: f"backbone.{name.removeprefix(place)}" for name in weights if name.startswith(place)}
            return {names.get(name, name): value for name, value in weights.items()}
    return weights


def config_of_encoder(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The settings of model and images, as the config of a run has them; empty where the metadata do not give them."""
    try:
        encoder, image = dict(json.loads(metadata["config"])), dict(json.loads(metadata["image"]))
        rename_settings({"type": "FineViT", "arch": encoder}, quiet=True)
        sizes = {name: int(encoder.pop(name)) for name in ("depth", "dim", "heads", "mlp_dim")}
        prepare = {"type": "PackedPreprocessor", **{name: [float(value) for value in image[name]] for name in ("mean", "std")}}
        resize = {"type": "ResizeToBudget", "snap": int(image["snap"])}
        settings = {"patch": int(encoder["patch"]), "pool": str(encoder["pool"]), "rope_theta": float(encoder["rope_theta"])}
        model = {"type": STAGES[metadata["stage"]], "backbone": {"type": "FineViT", "arch": sizes, **settings}}
        dataset = {"pixels": int(image["pixels"]), "transforms": [resize]}
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return {}
    return {"model": {**model, "data_preprocessor": prepare}, "val_dataloader": {"dataset": dataset}}


SHOWN = 3
"""So many names of functions are told."""
PICKLES = 4
"""A file without a zip around it holds as many before the storages: magic number, version, system, content."""


class Refused(ValueError):
    """A file that holds more than weights and plain values, or what nobody could use; the message goes behind the file's name."""


def load(file: str | Path | IO[bytes], *, map_location: Any = "cpu", mmap: bool = False) -> Any:
    """What a checkpoint holds: a torch file, of any age, or a safetensors file; ``Refused`` where it runs code or is of no use.

    ``meta.config``, a text that MMEngine runs to compare numbers of GPUs, is left out; what it writes itself is ``meta.cfg``.
    """
    content = _read(file, map_location, mmap=mmap)
    if wrong := wrong_kind(content):
        raise Refused(wrong)
    if isinstance(content, dict) and isinstance(weights := content.get("state_dict", content), MutableMapping):
        rename_weights(weights)
    if isinstance(content, dict) and "meta" in content:
        content["meta"] = content["meta"] or {}
        if isinstance(content["meta"], dict) and not trusted():
            content["meta"].pop("config", None)
    return content


def _read(file: str | Path | IO[bytes], map_location: Any, *, mmap: bool) -> Any:
    if not isinstance(file, str | Path):
        return _unpickle(file, map_location, mmap=False)
    path = Path(file).expanduser()
    check_regular(path)
    if damage := _damage(path):
        raise ValueError(damage)
    with path.open("rb") as opened:
        start = opened.read(9)
    if path.suffix == ".safetensors" or start[8:] == b"{":
        return _safetensors(path, map_location)
    return _unpickle(path, map_location, mmap=mmap and start.startswith(b"PK\x03\x04"))


_whole: set[tuple] = set()
"""Files that were found whole in this process."""


def _damage(path: Path) -> str:
    """What is wrong with the bytes of a file: by the SHA-256 beside it or, of a zip without one, its own checksums."""
    status = path.stat()
    known = (str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns)
    if known in _whole:
        return ""
    found = check_digest(path) if path.with_name(path.name + DIGEST).is_file() else _zip_damage(path)
    if not found:
        _whole.add(known)
    return found


def _zip_damage(path: Path) -> str:
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return ""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > 2 * path.stat().st_size:
                return "is a zip that unpacks to more than it is, which torch.save does not write"
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return "is a TorchScript archive, which is a program; save its state_dict"
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError, OverflowError) as error:
        return f"is damaged: {error}"
    return f"is damaged: the checksum of its part {broken!r} does not hold" if broken else ""


def _safetensors(path: Path, map_location: Any) -> dict[str, Any]:
    """Weights by name, and what the file says of itself as ``meta``; of our exports by the names in the model, with a config."""
    device = map_location if isinstance(map_location, str | torch.device) else "cpu"
    with safe_open(path, "pt", device=str(device)) as file:
        told, weights = dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if MARK not in told:
        return {"meta": {"metadata": told}, "state_dict": weights}
    return {"meta": {MARK: told[MARK], "metadata": told, "cfg": config_of_encoder(told)}, "state_dict": in_model(weights)}


def _unpickle(file: Path | IO[bytes], map_location: Any, *, mmap: bool) -> Any:
    if trusted():
        return histories(torch.load(file, map_location=map_location, weights_only=False, mmap=mmap or None))
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(ALLOWED):
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return histories(real(torch.load(file, map_location=map_location, weights_only=True, mmap=mmap or None)))
    except Exception as error:
        if names := sorted(_named(file) - _known()):
            raise Refused(_refusal(names)) from error
        reason = re.split(r"WeightsUnpickler error: ", str(error))[-1].strip().partition("\n")[0]
        offer = f"; {OFFER}" if "operand" in reason else ""  # of a pickle's later protocols
        raise ValueError(f"{reason or type(error).__name__}{offer}") from error


def _refusal(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"would run code when it is read ({', '.join(names[:SHOWN])}{more}): nothing of it was run; {OFFER}"


def told(error: Exception) -> str:
    """What is wrong with a file that could not be read, to go behind its name."""
    return str(error) if isinstance(error, Refused) else f"cannot be read as a checkpoint ({first_line(error)})"


def _named(file: Path | IO[bytes]) -> set[str]:
    """What the pickles of a file name, as far as they can be read."""
    found: set[str] = set()
    try:
        if isinstance(file, Path) and zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for name in archive.namelist():
                    if name.endswith(".pkl"):
                        with archive.open(name) as part:
                            found.update(_globals(part))
        else:
            with file.open("rb") if isinstance(file, Path) else file as part:
                part.seek(0)
                for _ in range(PICKLES):
                    found.update(_globals(part))
    except Exception:  # torn files: what was found before
        pass
    return found


def _globals(file: IO[bytes]) -> Iterator[str]:
    """Dotted names that one pickle looks up."""
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
            yield f"{'builtins' if module == '__builtin__' else module}.{name}"
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif isinstance(argument, str):
            texts = [*texts[-1:], argument]


def _known() -> set[str]:
    """What a file may name."""
    from torch._weights_only_unpickler import _get_allowed_globals

    return {*_get_allowed_globals(), *(name for _, name in ALLOWED)}


def _load_for_mmengine(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    try:
        return load(file, map_location=map_location)
    except Exception as error:  # damaged files raise nearly anything
        raise ValueError(f"checkpoint={str(file)!r} {told(error)}") from error


def _load_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True) -> Any:
    """Fetches a file into torch's folder for them, once."""
    folder = Path(model_dir or Path(torch.hub.get_dir(), "checkpoints"))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / Path(urlparse(url).path).name
    if not file.exists():
        torch.hub.download_url_to_file(url, str(file), None, progress=progress)
    return _load_for_mmengine(file, map_location)


mmengine_checkpoint._safe_torch_load = _load_for_mmengine  # MMEngine runs what it cannot read otherwise
mmengine_checkpoint.load_url = _load_url
