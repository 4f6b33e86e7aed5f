"""Tars of images and captions, as img2dataset and webdataset write them, read at random through an index of offsets."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from finevit.contracts import BadSample, Record
from finevit.registry import DATASETS

from .annotations import UNNAMED, captions, parse_object, refuse_dialogues, regions
from .encodings import decode_caption
from .files import IMAGE_SUFFIXES, FileSource, Skipped, existing, files_of_suffix, has_suffix
from .splits import Holdout, Strings
from .tar_files import Place, read_place
from .tar_index import TarIndex, load_indices
from .unread import COMPRESSED
from .unread import IMAGES as UNREAD


@DATASETS.register_module()
class TarShards(FileSource):
    """The samples of a ``.tar`` file, or of all that lie directly in a folder.

    Members that share a name up to its last dot are one sample: an image, and optionally a ``.txt`` caption and a
    ``.json`` object with captions and regions as ``annotations`` reads them. The id is ``shard/key``. Further parts of a sample
    (``000.seg.png`` beside ``000.jpg``) are told and not read. A tar that ends early gives the samples that are whole, and is
    named. Offsets are kept in the user's cache: a tar is listed once.
    ``split`` and ``holdout`` are explained at ``splits.select``.
    """

    def __init__(self, *, data_root: str | Path, split: str = "train", holdout: Holdout = 0.02):
        root, skipped = existing(data_root), Skipped()
        self._files = files_of_suffix(root, ".tar")
        if root.is_dir():
            _look_beside(root, skipped)
        indices = load_indices(self._files, skipped)
        self._ids = Strings(_ids(self._files, indices))
        if not len(self._ids):
            raise ValueError(f"data_root={str(data_root)!r} holds no samples with an image: {skipped.said() or 'empty'}")
        self._shards = np.repeat(np.arange(len(indices)), [len(index.keys) for index in indices])
        self._spans = np.concatenate([index.spans for index in indices])
        captioned = int((self._spans[:, 1:3, 1] != 0).any(axis=1).sum())
        super().__init__(data_root=root, keys=self._ids, captioned=captioned, skipped=skipped, split=split, holdout=holdout)

    def record(self, row: int) -> Record:
        """Read the parts of a sample."""
        path, name = self._files[self._shards[row]], self._ids[row]
        image, text, data = (
            read_place(path, Place(*place), name=name) if any(place) else None for place in self._spans[row, :3].tolist()
        )
        told, why = (None, "") if text is None else decode_caption(text, f"{name}.txt")
        try:
            entry = parse_object(data) if data else {}
            refuse_dialogues(entry)
            texts = captions(entry, text=told)
            parts = regions(entry, image)
        except ValueError as error:
            raise BadSample(f"{name}: its .json is unusable: {error}") from None
        assert image is not None, "load_index keeps samples with an image alone"
        unread = {UNNAMED: why} if why else {}
        return Record(id=name, image=image, captions=texts, regions=parts.regions, unplaced=parts.unplaced, unread=unread)

    def name_of(self, row: int) -> str:
        """``shard/key``."""
        return self._ids[row]

    def image_at(self, row: int) -> tuple[Path, int, int] | None:
        """A part of a tar; None of a sparse file, whose bytes lie apart."""
        offset, size = self._spans[row, 0].tolist()
        return None if size < 0 else (self._files[self._shards[row]], offset, size)


def _look_beside(root: Path, skipped: Skipped) -> None:
    """Tell what else a folder of tars holds that people may think is read."""
    paths = sorted(path for path in root.iterdir() if path.name[0] != ".")
    for path in (path for path in paths if path.suffix.lower() in COMPRESSED):
        skipped.add(f"{path.name} is compressed and not read; decompress it (gunzip, ...)")
    for path in (path for path in paths if ".tar." in path.name.lower() and path.suffix.lower() not in COMPRESSED):
        skipped.add(f"{path.name} is not read; complete it, or rename it so that it ends in .tar")
    for inner in (inner for path in paths if path.is_dir() for inner in _tars_in(path, skipped)):
        skipped.add(f"{inner.relative_to(root)} lies one folder deeper and is not read; move it beside the others")
    if images := [path.name for path in paths if path.suffix.lower() in (*IMAGE_SUFFIXES, *UNREAD)]:
        skipped.add(
            f"{len(images):,} images beside the tars ({images[0]}) are not read; give them a folder of their own", len(images)
        )


def _tars_in(folder: Path, skipped: Skipped) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if has_suffix(path, ".tar"))
    except OSError as error:
        skipped.note(f"{folder.name}/, which cannot be read ({error.strerror})")
        return []


def _ids(files: list[Path], indices: Iterable[TarIndex]) -> Iterator[str]:
    return (f"{path.stem}/{key}" for path, index in zip(files, indices, strict=True) for key in index.keys)
