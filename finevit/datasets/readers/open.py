"""One name for people's own data: ``OpenData`` looks at a path and picks the reader."""

from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from finevit.contracts import Source
from finevit.registry import DATASETS
from finevit.shards.manifest import FILE, KEPT, is_dataset

from .files import FileSource, existing, has_suffix, refusing_unreadable
from .folder import ImageFolder
from .jsonlines import JsonLines
from .shards import ShardRecords
from .splits import Holdout
from .tars import TarShards
from .unread import remedy


@DATASETS.register_module(name="OpenData")
@refusing_unreadable()
def open_source(*, data_root: str | Path, split: str = "train", holdout: Holdout = 0.02) -> Source:
    """Return the reader for what lies at ``data_root``.

    A folder with the manifest of a dataset of shards, or a manifest: ``ShardRecords``. A ``.tar`` file or a folder with some:
    ``TarShards``. A ``.jsonl`` file or a folder with some: ``JsonLines``. Any other folder: ``ImageFolder``. A file of another
    ending: the registered reader whose ``suffix`` it is. ``split`` is ``train``, ``val`` or ``test`` (both the held-out part) or
    ``all``; ``holdout`` is the share of records that a hash of their names holds out.

    Raises ``ValueError`` where nothing usable is there.
    """
    reader = _reader(existing(data_root), data_root)
    return reader(data_root=str(data_root), split=split, holdout=holdout)


def _reader(path: Path, given: str | Path) -> Callable[..., Source]:
    entries = [path] if path.is_file() else list(path.iterdir())
    if is_dataset(path):
        return ShardRecords
    if lone := next((entry for entry in entries if fnmatch(entry.name, "*.images.*.parquet")), None):
        raise ValueError(f"data_root={str(given)!r} holds tables of shards ({lone.name}) and no {FILE}; restore it from {KEPT}/")
    tars, lines = (any(has_suffix(entry, suffix) for entry in entries) for suffix in (".tar", ".jsonl"))
    if tars and lines:
        raise ValueError(f"data_root={str(given)!r} holds both .tar and .jsonl files; give the path of the file you mean")
    if path.is_file() and not (tars or lines):
        if own := _reader_of(path.suffix.lower()):
            return own
        told = remedy(path.suffix.lower())
        raise ValueError(
            f"data_root={str(given)!r} is a file but neither a .tar nor a .jsonl; give one of these, or a folder{told}"
        )
    return TarShards if tars else JsonLines if lines else ImageFolder


def _reader_of(suffix: str) -> type[FileSource] | None:
    """The registered reader of files of this ending; ``ValueError`` where there are several."""
    DATASETS.import_from_location()
    known = {reader for reader in DATASETS.module_dict.values() if isinstance(reader, type) and issubclass(reader, FileSource)}
    found = [reader for reader in known if suffix and reader.suffix == suffix]
    if len(found) > 1:
        names = " and ".join(sorted(f"{reader.__module__}.{reader.__qualname__}" for reader in found))
        raise ValueError(f"{suffix} files are claimed by {names}; name the one you mean as the source's type")
    return found[0] if found else None
