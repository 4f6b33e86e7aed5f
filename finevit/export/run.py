"""One export from beginning to end: read, check, write whole or not at all, with a model card."""

import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp

from finevit.export.source import Source, read_source
from finevit.storage.places import writing
from finevit.suggest import did_you_mean

TARGETS = ("safetensors", "hf", "timm", "onnx", "open_clip", "llava")
"""Each is a module ``to_NAME`` with ``write(source, folder)``."""


def export(checkpoint: str | Path, target: str, out: str | Path, config: str | Path | None = None) -> list[Path]:
    """Writes a checkpoint into the new or empty folder ``out`` for ``target``; returns the files."""
    if target not in TARGETS:
        raise ValueError(f"--to {target}: unknown{did_you_mean(target, TARGETS)}; choose one of {', '.join(TARGETS)}")
    folder = Path(out).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--out {str(out)!r} is not empty; give a new folder")
    source = read_source(checkpoint, config)
    write: Callable[[Source, Path], None] = import_module(f"finevit.export.to_{target}").write
    with writing(f"--out {str(out)!r}"):
        _write_whole(source, write, folder, target)
    return sorted(folder.iterdir())


def _write_whole(source: Source, write: Callable[[Source, Path], None], folder: Path, target: str) -> None:
    """The folder, complete or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write(source, draft)
        import_module("finevit.export.card").write(source, draft, target)
        draft.chmod(0o755)
        draft.replace(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
