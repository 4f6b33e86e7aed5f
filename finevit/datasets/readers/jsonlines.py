"""Images named by lines of JSON: ``{"image": "a/b.jpg", "caption": "...", "regions": [...]}``."""

import codecs
import contextlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

from finevit.contracts import BadSample, Record
from finevit.registry import DATASETS
from finevit.storage.regular import open_regular

from .annotations import captions, elsewhere, parse_object, refuse_dialogues, regions, size_of
from .files import IMAGE_SUFFIXES, MAX_ENTRY, FileSource, Skipped, existing, files_of_suffix, read
from .splits import Holdout
from .unread import COMPRESSED


class Repeats:
    """Counts how many different images each caption describes, in 16 bytes a caption."""

    def __init__(self) -> None:
        self._texts, self._pairs = array("Q"), array("Q")

    def add(self, image: str, texts: Iterable[str]) -> None:
        """The captions of an entry about an image."""
        for text in texts:
            self._texts.append(fingerprint(text))
            self._pairs.append(fingerprint(f"{image}\0{text}"))

    def shared(self, limit: int) -> frozenset[int]:
        """Fingerprints of the captions of more than ``limit`` images."""
        _, first = np.unique(np.array(self._pairs), return_index=True)
        texts, images = np.unique(np.array(self._texts)[first], return_counts=True)
        return frozenset(texts[images > limit].tolist())


def fingerprint(text: str) -> int:
    """64 bits of a text, the same in every process, in upper and lower case."""
    return int.from_bytes(blake2b(text.casefold().encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


IMAGE_FIELDS = ("image", "file_name", "path")
"""Where an entry names its image; the first of these that it has."""
_DOCUMENT = 2**27  # larger files are not looked at as one JSON document


@DATASETS.register_module()
class JsonLines(FileSource):
    """The entries of a ``.jsonl`` file, or of all that lie directly in a folder.

    An entry has an image path (``image``, ``file_name`` or ``path``; relative to ``image_root``, by default the folder
    of the file), and optionally ``id`` (default: the image path), captions and regions as ``annotations`` reads them.
    Entries that are not valid, or whose id was seen before, are left out when the file is opened, and named by file and line,
    and so are impossible regions, whose image stays; a missing image is a ``BadSample`` when it is asked for. A file of
    dialogues is refused. Only the offsets of the lines are kept in memory.

    The image path decides the split, so that several entries about one image stay together. ``split`` and ``holdout``
    are explained at ``splits.select``. A caption of more than ``repeated`` different images is dropped (None: never).
    """

    def __init__(
        self,
        *,
        data_root: str | Path,
        split: str = "train",
        holdout: Holdout = 0.02,
        image_root: str | Path | None = None,
        repeated: Annotated[int, Ge(1), "the most images that may share a caption"] | None = 20,
    ):
        root, unread = existing(data_root), Counter[tuple[str, str]]()
        self._files = files_of_suffix(root, ".jsonl")
        self._image_root = None if image_root is None else existing(image_root, setting="image_root")
        skipped, impossible, keys, lines, captioned, repeats = Skipped(), Skipped(), [], [], 0, Repeats()
        if root.is_dir():
            _look_beside(root, skipped)
        beside = _images_beside(root) if root.is_dir() and image_root is None else set()
        for where, entry, name in _entries(self._files, skipped):
            beside.discard(_path(Path(), name).as_posix())
            lines.append(where)
            keys.append(name)
            texts = _texts(entry)
            captioned += any(texts)
            unread.update(elsewhere(entry).items())
            for fault in regions(entry).faults:
                impossible.add(f"{self._files[where[0]].name} line {where[1]}: {fault}")
            if repeated is not None:
                repeats.add(name, filter(None, texts))
        if not lines:
            found = f"{_whole(self._files)}{skipped}" if skipped.count else "it is empty"
            raise ValueError(f"data_root={str(data_root)!r} holds no usable entries: {found}")
        if beside:
            skipped.note(f"{len(beside):,} images beside the .jsonl ({min(beside)})", "no entry names them")
        for (field, remedy), count in unread.items():
            skipped.note(f"{field!r} of {count:,} entries", remedy)
        if impossible.count:
            skipped.note(f"{impossible.count:,} impossible regions ({impossible})")
        self._lines = np.array(lines, dtype=np.int64)
        self._why = f"more than {repeated} images share it"
        self._shared = repeats.shared(repeated) if repeated is not None else frozenset()
        super().__init__(data_root=root, keys=keys, captioned=captioned, skipped=skipped, split=split, holdout=holdout)
        if self._shared:
            self._about += f"; {len(self._shared):,} captions dropped that more than {repeated} images share (repeated={repeated})"

    def record(self, row: int) -> Record:
        """Read a line and its image."""
        file, name = self._place(row)
        try:
            entry = self._entry(row)
            texts = captions(entry)
        except ValueError as error:
            raise BadSample(f"{name}: {error}") from None
        shared = {captioner: self._why for captioner, text in texts.items() if fingerprint(text) in self._shared}
        texts = {captioner: text for captioner, text in texts.items() if captioner not in shared}
        image = _image(entry)
        data = read(_path(self._image_root or file.parent, image), name=f"{name} ({image})")
        found, unplaced, _ = regions(entry, data)
        facts = {"origin": name}
        return Record(id=_id(entry), image=data, captions=texts, shared=shared, regions=found, unplaced=unplaced, facts=facts)

    def size(self, index: int) -> tuple[int, int] | None:
        """The entry's ``height`` and ``width`` where it has them, else by the beginning of the image's file."""
        try:
            entry = self._entry(int(self._rows[index]))
        except ValueError:
            return None
        return size_of(entry) or super().size(index)

    def name_of(self, row: int) -> str:
        """The id of the entry, by default its image's path."""
        return _id(self._entry(row))

    def image_at(self, row: int) -> tuple[Path, int, int] | None:
        """The whole of an image file."""
        try:
            image = _image(self._entry(row))
        except ValueError:
            return None
        return _path(self._image_root or self._place(row)[0].parent, image), 0, -1

    def _place(self, row: int) -> tuple[Path, str]:
        """File of an entry, and what messages call the entry."""
        file = self._files[self._lines[row, 0]]
        return file, f"{file.name} line {self._lines[row, 1]}"

    def _entry(self, row: int) -> dict:
        """An entry, read again; ``ValueError`` where it is not valid any more."""
        file, name = self._place(row)
        return parse_object(read(file, name=name, offset=int(self._lines[row, 2]), size=int(self._lines[row, 3])))


def _look_beside(root: Path, skipped: Skipped) -> None:
    """Tell what else a folder holds that people may think is read."""
    for path in sorted(path for path in root.iterdir() if path.name[0] != "." and path.is_file()):
        inner = Path(path.stem).suffix.lower() if path.suffix.lower() in COMPRESSED else path.suffix.lower()
        if inner in (".jsonl", ".ndjson") and inner != path.suffix.lower():
            skipped.add(f"{path.name} is compressed and not read; decompress it (gunzip, ...)")
        elif inner == ".ndjson":
            skipped.add(f"{path.name} is not read; rename it to .jsonl")
        elif inner == ".jsonl" and not path.stat().st_size:
            skipped.add(f"{path.name} is empty; fetch it again or remove it")


def _images_beside(root: Path) -> set[str]:
    """The names of the visible image files directly in a folder."""
    return {path.name for path in root.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."}


def _entries(files: list[Path], skipped: Skipped) -> Iterator[tuple[tuple[int, int, int, int], dict, str]]:
    """Yield (file, line, offset, bytes), entry and image path of each valid entry; note the others in ``skipped``."""
    first: dict[str, str] = {}
    for number, path in enumerate(files):
        for line, offset, data in _lines(path):
            where = f"{path.name} line {line}"
            try:
                if len(data) >= MAX_ENTRY:
                    raise ValueError(f"{MAX_ENTRY:,} bytes or more, the limit of an entry; write one object a line")
                entry = parse_object(data)
                image, identity = _image(entry), _id(entry)
                if identity in first:
                    raise ValueError(f"id {identity!r} was in {first[identity]} already; give ids, or one entry several captions")
            except ValueError as error:
                skipped.add(f"{where}: {error}")
                continue
            try:
                refuse_dialogues(entry)  # one entry speaks for its file
            except ValueError as error:
                raise ValueError(f"{path}: line {line} {error}") from None
            first[identity] = where
            yield (number, line, offset, len(data)), entry, image


def _texts(entry: Mapping[str, object]) -> Collection[str]:
    """The captions of an entry, none where they are not valid: its record says so when it is asked for."""
    try:
        return captions(entry).values()
    except ValueError:
        return ()


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield number (from 1), offset and bytes of the lines that are not blank; of too long ones the beginning."""
    offset = 0
    with open_regular(path) as file:
        beginning = file.read(256)
        file.seek(0)
        if beginning.startswith(b"\x1f\x8b"):
            raise ValueError(f"{path} is compressed; decompress it (gunzip)")
        encoding = json.detect_encoding(beginning)
        lines = iter(partial(file.readline, MAX_ENTRY), b"") if encoding.startswith("utf-8") else _wide_lines(file.read(), encoding)
        number, begins = 1, True
        for data in lines:
            if begins and data.strip(b"\0 \t\r\n"):
                yield number, offset, data
            begins = len(data) < MAX_ENTRY or data.endswith(b"\n")
            offset, number = offset + len(data), number + begins


def _wide_lines(data: bytes, encoding: str) -> Iterator[bytes]:
    """The lines of a text of UTF-16 or UTF-32, with their ends."""
    unit = 4 if "32" in encoding else 2
    little = encoding.endswith("le") or data[:2] == codecs.BOM_UTF16_LE
    end, start, found = (b"\n" + b"\0" * (unit - 1)) if little else (b"\0" * (unit - 1) + b"\n"), 0, 0
    while (found := data.find(end, found)) >= 0:
        if found % unit:
            found += 1
            continue
        yield data[start : found + unit]
        start = found = found + unit
    yield data[start:]


def _whole(files: Sequence[Path]) -> str:
    """What is wrong where a file is not lines but one JSON document; else nothing."""
    for path in files:
        text = path.read_bytes().strip() if path.stat().st_size < _DOCUMENT else b""
        with contextlib.suppress(ValueError, RecursionError):
            if isinstance(json.loads(text), list) or b"\n" in text:
                return f"{path.name} is one JSON document; write one object a line (jq -c '.[]' FILE, or without '.[]' for one); "
    return ""


def _path(root: Path, image: str) -> Path:
    """Where an image is; a path that Windows wrote is one of folders too."""
    path = root / image
    return root / image.replace("\\", "/") if "\\" in image and not os.path.isfile(path) else path


def _image(entry: Mapping[str, object]) -> str:
    image = next((entry[field] for field in IMAGE_FIELDS if entry.get(field)), None)
    if image is None and "url" in entry:
        raise ValueError("has only a 'url'; download the images first, with img2dataset for instance")
    if isinstance(image, list):
        raise ValueError(f"names a list of {len(image)} images; write one entry for each image")
    if not isinstance(image, str):
        raise ValueError(f"must name its image as a path in {' or '.join(map(repr, IMAGE_FIELDS))}; its fields are {sorted(entry)}")
    if "://" in image:
        raise ValueError(f"image {image!r} is an address, not a file; download the images first, with img2dataset for instance")
    return image


def _id(entry: Mapping[str, object]) -> str:
    return str(entry["id"]) if entry.get("id") is not None else _image(entry)
