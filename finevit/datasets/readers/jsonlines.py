"""Images named by lines of JSON: ``{"image": "a/b.jpg", "caption": "...", "regions": [...]}``."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from finevit.contracts import BadSample, Record
from finevit.registry import DATASETS

from .annotations import captions, parse_object, regions
from .files import FileSource, Skipped, existing, read
from .repeated import Repeats, fingerprint

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
    are explained at ``splits.select``. A caption of more than ``repeated`` different images is dropped (None: never).
    """

    def __init__(
        self,
        *,
        data_root: str | Path,
        split: str = "train",
        holdout: float = 0.02,
        image_root: str | Path | None = None,
        repeated: int | None = 20,
    ):
        if repeated is not None and (not isinstance(repeated, int) or repeated < 1):
            raise ValueError(
                f"repeated={repeated!r}: give the most images that may share a caption, at least 1, or None for any number"
            )
        root = existing(data_root)
        self._files = _files(root)
        self._image_root = None if image_root is None else existing(image_root, setting="image_root")
        skipped, keys, lines, captioned, repeats = Skipped(), [], [], 0, Repeats()
        for where, entry, name in _entries(self._files, skipped):
            lines.append(where)
            keys.append(name)
            texts = _texts(entry)
            captioned += any(texts)
            if repeated is not None:
                repeats.add(name, filter(None, texts))
        if not lines:
            raise ValueError(f"data_root={str(data_root)!r} holds no usable entries: {skipped if skipped.count else 'it is empty'}")
        self._lines = np.array(lines, dtype=np.int64)
        self._shared = repeats.shared(repeated) if repeated is not None else frozenset()
        super().__init__(data_root=root, keys=keys, captioned=captioned, skipped=skipped, split=split, holdout=holdout)
        if self._shared:
            self._about += f"; {len(self._shared):,} captions dropped that more than {repeated} images share (repeated={repeated})"

    def record(self, row: int) -> Record:
        """Read a line and its image."""
        file, name = self._place(row)
        try:
            entry = self._entry(row)
            texts, parts = captions(entry), regions(entry)
        except ValueError as error:
            raise BadSample(f"{name}: {error}") from None
        texts = {captioner: text for captioner, text in texts.items() if fingerprint(text) not in self._shared}
        image = _image(entry)
        path = (self._image_root or file.parent) / image
        data = read(path, name=f"{name} ({image})")
        return Record(id=_id(entry), image=data, captions=texts, regions=parts, facts={"origin": name})

    def size(self, index: int) -> tuple[int, int] | None:
        """The entry's ``height`` and ``width`` where it has them, else by the beginning of the image's file."""
        try:
            entry = self._entry(int(self._rows[index]))
        except ValueError:
            return None
        height, width = entry.get("height"), entry.get("width")
        if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
            return height, width
        return super().size(index)

    def image_at(self, row: int) -> tuple[Path, int, int] | None:
        """The whole of an image file."""
        try:
            image = _image(self._entry(row))
        except ValueError:
            return None
        return (self._image_root or self._place(row)[0].parent) / image, 0, -1

    def _place(self, row: int) -> tuple[Path, str]:
        """File of an entry, and what messages call the entry."""
        file = self._files[self._lines[row, 0]]
        return file, f"{file.name} line {self._lines[row, 1]}"

    def _entry(self, row: int) -> dict:
        """An entry, read again; ``ValueError`` where it is not valid any more."""
        file, name = self._place(row)
        return parse_object(read(file, name=name, offset=int(self._lines[row, 2]), size=int(self._lines[row, 3])))


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


def _texts(entry: Mapping[str, object]) -> Collection[str]:
    """The captions of an entry, none where they are not valid: its record says so when it is asked for."""
    try:
        return captions(entry).values()
    except ValueError:
        return ()


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
