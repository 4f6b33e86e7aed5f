"""One export from beginning to end: read, check, write whole or not at all, with a model card."""

import shutil
from pathlib import Path
from tempfile import mkdtemp

from finevit.export.card import write_card
from finevit.export.exporter import Exporter
from finevit.export.source import LoadedCheckpoint, read_source
from finevit.registry import EXPORTERS
from finevit.storage.places import writing
from finevit.suggest import did_you_mean


def export(checkpoint: str | Path, target: str, out: str | Path, config: str | Path | None = None) -> list[Path]:
    """Writes a checkpoint into the new or empty folder ``out`` for ``target``; returns the files."""
    found = EXPORTERS.get(target)
    if found is None:
        targets = sorted(EXPORTERS.module_dict)
        raise ValueError(f"--to {target}: unknown{did_you_mean(target, targets)}; choose one of {', '.join(targets)}")
    folder = Path(out).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--out {str(out)!r} is not empty; give a new folder")
    source = read_source(checkpoint, config)
    exporter: Exporter = found()
    exporter.check(source, target)
    with writing(f"--out {str(out)!r}"):
        _write_whole(source, exporter, folder, target)
    return sorted(folder.iterdir())


def _write_whole(source: LoadedCheckpoint, exporter: Exporter, folder: Path, target: str) -> None:
    """The folder, complete or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        exporter.write(source, draft)
        write_card(source, draft, exporter, target)
        draft.chmod(0o755)
        draft.replace(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
