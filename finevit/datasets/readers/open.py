"""One name for people's own data: ``OpenData`` looks at a path and picks the reader."""

from collections.abc import Callable
from pathlib import Path

from finevit.contracts import Source
from finevit.registry import DATASETS

from .files import existing, has_suffix, refusing_unreadable
from .folder import ImageFolder
from .jsonlines import JsonLines
from .splits import Holdout
from .tars import TarShards
from .unread import remedy


@DATASETS.register_module(name="OpenData")
@refusing_unreadable()
def open_source(*, data_root: str | Path, split: str = "train", holdout: Holdout = 0.02) -> Source:
    """Return the reader for what lies at ``data_root``.

    A ``.tar`` file or a folder with some: ``TarShards``. A ``.jsonl`` file or a folder with some: ``JsonLines``. Any
    other folder: ``ImageFolder``. ``split`` is ``train``, ``val`` or ``test`` (both the held-out part) or ``all``;
    ``holdout`` is the share of records that a hash of their names holds out.

    Raises ``ValueError`` where nothing usable is there.
    """
    reader = _reader(existing(data_root), data_root)
    return reader(data_root=data_root, split=split, holdout=holdout)


def _reader(path: Path, given: str | Path) -> Callable[..., Source]:
    entries = [path] if path.is_file() else list(path.iterdir())
    tars, lines = (any(has_suffix(entry, suffix) for entry in entries) for suffix in (".tar", ".jsonl"))
    if tars and lines:
        raise ValueError(f"data_root={str(given)!r} holds both .tar and .jsonl files; give the path of the file you mean")
    if path.is_file() and not (tars or lines):
        told = remedy(path.suffix.lower())
        raise ValueError(
            f"data_root={str(given)!r} is a file but neither a .tar nor a .jsonl; give one of these, or a folder{told}"
        )
    return TarShards if tars else JsonLines if lines else ImageFolder
