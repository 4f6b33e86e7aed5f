"""Images named by lines of JSON: ``{"image": "a/b.jpg", "caption": "...", "regions": [...]}``."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from finevit.contracts import BadSample, Record
from finevit.registry import DATASETS

from .annotations import captions, parse_object, regions
from .files import FileSource, Skipped, existing, read

IMAGE_FIELDS = ("image", "file_name", "path")
"""Where an entry names its image; the first of these that it has."""


@DATASETS.register_module()
class JsonLines(FileSource):
    """The entries of a ``.jsonl`` file, or of all that lie directly in a folder.

    An entry has an image path (``image``, ``file_name`` or ``path``; relative to ``image_root``, by default the folder
    of the file), and optionally ``id`` (default: the image path), captions and regions as ``annotations`` reads them.
    Entries that are not valid, or whose id was seen before, are left out when the file is opened, and named by file and
    line; a missing image is a ``BadSample`` when it is asked for. Only the offsets of the lines are kept in memory.

    The image path decides the split, so that several entries about one image stay together. ``split`` and ``holdout``
    are explained at ``splits.select``.
    """

    def __init__(
        self,
        *,
        data_root: str | Path,
        split: str = "train",
        holdout: float = 0.02,
        image_root: str | Path | None = None,
    ):
        root = existing(data_root)
        self._files = _files(root)
        self._image_root = None if image_root is None else existing(image_root, setting="image_root")
        skipped, keys, lines, captioned = Skipped(), [], [], 0
        for where, entry, name in _entries(self._files, skipped):
            lines.append(where)
            keys.append(name)
            captioned += any(entry.get(field) for field in ("caption", "captions", "text"))
        if not lines:
            raise ValueError(f"data_root={str(data_root)!r} holds no usable entries: {skipped if skipped.count else 'it is empty'}")
        self._lines = np.array(lines, dtype=np.int64)
        super().__init__(data_root=root, keys=keys, captioned=captioned, skipped=skipped, split=split, holdout=holdout)

    def record(self, row: int) -> Record:
        """Read a line and its image."""
        number, line, offset, size = map(int, self._lines[row])
        file = self._files[number]
        name = f"{file.name} line {line}"
        try:
            entry = parse_object(read(file, name=name, offset=offset, size=size))
            texts, parts = captions(entry), regions(entry)
        except ValueError as error:
            raise BadSample(f"{name}: {error}") from None
        image = _image(entry)
        path = (self._image_root or file.parent) / image
        return Record(id=_id(entry), image=read(path, name=f"{name} ({image})"), captions=texts, regions=parts)


def _files(root: Path) -> list[Path]:
    files = [root] if root.is_file() else sorted(path for path in root.iterdir() if is_json_lines(path))
    if not files:
        raise ValueError(f"data_root={str(root)!r} holds no .jsonl files")
    return files


def is_json_lines(path: Path) -> bool:
    """Whether a path is a visible ``.jsonl`` file."""
    return path.suffix.lower() == ".jsonl" and path.name[0] != "." and path.is_file()


def _entries(files: list[Path], skipped: Skipped) -> Iterator[tuple[tuple[int, int, int, int], dict, str]]:
    """Yield (file, line, offset, bytes), entry and image path of each valid entry; note the others in ``skipped``."""
    first: dict[str, str] = {}
    for number, path in enumerate(files):
        for line, offset, data in _lines(path):
            where = f"{path.name} line {line}"
            try:
                entry = parse_object(data)
                image, identity = _image(entry), _id(entry)
                if identity in first:
                    raise ValueError(f"id {identity!r} was in {first[identity]} already; give ids, or one entry several captions")
            except ValueError as error:
                skipped.add(f"{where}: {error}")
                continue
            first[identity] = where
            yield (number, line, offset, len(data)), entry, image


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield number (from 1), offset and bytes of the lines that are not blank."""
    offset = 0
    with path.open("rb") as file:
        for number, data in enumerate(file, start=1):
            if data.strip():
                yield number, offset, data
            offset += len(data)


def _image(entry: Mapping[str, object]) -> str:
    image = next((entry[field] for field in IMAGE_FIELDS if entry.get(field)), None)
    if image is None and "url" in entry:
        raise ValueError("has only a 'url'; download the images first, with img2dataset for instance")
    if not isinstance(image, str):
        raise ValueError(f"must name its image as a path in {' or '.join(map(repr, IMAGE_FIELDS))}; its fields are {sorted(entry)}")
    if "://" in image:
        raise ValueError(f"image {image!r} is an address, not a file; download the images first, with img2dataset for instance")
    return image


def _id(entry: Mapping[str, object]) -> str:
    return str(entry["id"]) if entry.get("id") is not None else _image(entry)
