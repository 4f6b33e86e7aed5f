"""One name for people's own data: ``OpenData`` looks at a path and picks the reader."""

from pathlib import Path

from finevit.contracts import Source
from finevit.registry import DATASETS

from .files import existing
from .folder import ImageFolder


@DATASETS.register_module(name="OpenData")
def open_source(*, data_root: str | Path, split: str = "train", holdout: float = 0.02) -> Source:
    """Return the reader for what lies at ``data_root``: a folder of images (``ImageFolder``)."""
    existing(data_root)
    return ImageFolder(data_root=data_root, split=split, holdout=holdout)
