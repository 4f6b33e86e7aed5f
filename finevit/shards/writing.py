"""Shards of any source's records: pixels as they are stored, what is said of them, and reasons for what cannot be used."""

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from finevit.contracts import BadSample, Question, Record, Region, Source
from finevit.datasets.decoding.images import decode, header, opened
from finevit.printable import printable

from .files import FileEntry, TarWriter, write_table
from .manifest import FILE, PIXELS, Manifest, Shard, save
from .schema import GIVEN, KEPT, REJECTED, SHARED, TABLES, UNPLACED, UNREAD, table

SHARD = 10_000
"""Images of a shard, as usual elsewhere."""
SUFFIXES = {"JPEG": "jpg", "TIFF": "tif"}
"""Endings of members by Pillow's name of the format, where that is not the ending."""
_LOOKED_AT = 128 * 128  # pixels: a JPEG is decoded at a small scale, which finds the same faults
_SAME = 24
Rows = dict[str, list[dict[str, Any]]]


class Written(NamedTuple):
    """What was made: the manifest, and what of the source is not in the shards, counted."""

    manifest: Manifest
    left_out: Counter[str]


class Looked(NamedTuple):
    """What an encoded image says of itself: Pillow's name of its format, and the size of the upright image."""

    format: str
    width: int
    height: int


def write_source(
    source: Source, folder: str | Path, *, shard: int = SHARD, advance: Callable[[], object] = lambda: None
) -> Written:
    """Writes the records of a source, in their order, into shards of so many; the same source gives the same bytes.

    A dataset is never changed: ``ValueError`` where one is there. ``advance`` is called after each record.
    """
    folder = Path(folder)
    if (folder / FILE).exists():
        raise ValueError(f"{folder} is a dataset already, and is never changed; give another folder, or remove this one")
    writer, shards, entries = _Writer(source), [], iter(range(len(source)))
    for number in range(-(-len(source) // shard)):
        name, rows = f"{number:05d}", {kind: list[dict[str, Any]]() for kind in TABLES}
        with TarWriter(folder / f"{name}.tar") as tar:
            for _, index in zip(range(shard), entries, strict=False):
                writer.add(index, name, tar, rows)
                advance()
        shards.append(_tables(folder, name, rows, tar.entry))
    facts = {"source": source.describe()}
    manifest = Manifest(tuple(shards), counts=writer.counts(), classes=writer.classes, facts=facts)
    save(folder, manifest)
    return Written(manifest, writer.left_out)


def _tables(folder: Path, name: str, rows: Rows, pixels: FileEntry) -> Shard:
    """Writes the tables of a shard; those of phrases and questions only where there are some."""
    written = {kind: found for kind, found in rows.items() if found or kind in ("images", "captions", "regions")}
    files = {kind: write_table(table(kind, found), folder, f"{name}.{kind}") for kind, found in written.items()}
    return Shard(name, len(rows["images"]), {PIXELS: pixels, **files})


class _Writer:
    """Turns records into rows, and counts them by status."""

    def __init__(self, source: Source) -> None:
        self._source, self._seen = source, Counter[str]()
        self.classes = tuple(map(str, getattr(source, "classes", None) or ()))
        self.left_out = Counter[str]()
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows by status of each table."""
        return {kind: dict(sorted(found.items())) for kind, found in sorted(self._counts.items())}

    def add(self, index: int, shard: str, tar: TarWriter, rows: Rows) -> None:
        """The record of an index into the tar and the tables; one that cannot be used becomes a row with the reason."""
        name = f"record {index}"
        try:
            record = self._source[index]
            name = _text(record.id, printable)
            data = record.image if isinstance(record.image, bytes) else png(record.image)
            looked = look_at(data, name=name)
        except BadSample as error:
            self._put(rows, "images", _image(self._identity(name.encode()), shard, name, reason=f"unreadable: {_text(str(error))}"))
            return
        identity = self._identity(data)
        place = tar.add(identity, SUFFIXES.get(looked.format, looked.format.lower()), data)
        kind = "document" if any(region.kind == "document" for region in record.regions) else "photo"
        row = _image(identity, shard, name, place=place, looked=looked, kind=kind, facts=self._facts(record))
        self._put(rows, "images", row)
        told = {"captions": captions(record), "regions": self._regions(record), "qa": self._questions(record)}
        for name_of_table, found in told.items():
            joined = ({"sample_id": identity, **said} for said in found)
            for said in identified(joined) if name_of_table == "regions" else joined:
                self._put(rows, name_of_table, said)
        self.left_out["label maps"] += record.label_map is not None

    def _put(self, rows: Rows, kind: str, row: dict[str, Any]) -> None:
        rows[kind].append(row)
        self._counts[kind][row.get("verdict") or row.get("status") or GIVEN] += 1

    def _identity(self, data: bytes) -> str:
        """The SHA-256 of the bytes, 32 digits; where they were there before, the last eight tell which time this is."""
        found = hashlib.sha256(data).hexdigest()[:32]
        self._seen[found] += 1
        if self._seen[found] == 1:
            return found
        self.left_out["images of bytes that were there before, whose ids tell which time it is"] += 1
        return again(found, self._seen[found])

    def _regions(self, record: Record) -> Iterator[dict[str, Any]]:
        for region in record.regions:
            yield region_row(region, self.classes)
        for region in record.unplaced:
            yield region_row(region, self.classes) | {"kept": False, "status": UNPLACED, "reasons": ["impossible box"]}

    def _facts(self, record: Record) -> str | None:
        """As JSON, without what that cannot hold; questions have a table of their own."""
        kept = {}
        for name, value in record.facts.items():
            if name == "questions":
                continue
            try:
                kept[name] = json.loads(json.dumps(value, default=_plain))
            except (TypeError, ValueError):
                self.left_out[f"facts[{name!r}]"] += 1
        return json.dumps(kept, ensure_ascii=True) if kept else None

    def _questions(self, record: Record) -> Iterator[dict[str, Any]]:
        found = record.facts.get("questions", ())
        for turn, question in enumerate(found if isinstance(found, tuple | list) else ()):
            if isinstance(question, Question):
                self.left_out["further accepted answers"] += len(question.strings)
                texts = {"question": _text(question.text), "answer": _text(question.answer), "task": question.task}
                boxes = [list(map(float, box)) for box in question.boxes]
                double = None if all(map(_exact, boxes)) else boxes
                yield {**texts, "question_template_id": "", "boxes": boxes, "boxes_double": double, "region_ids": [], "turn": turn}


def png(image: np.ndarray) -> bytes:
    """An RGB array ``uint8 [height, width, 3]`` as a file that holds the same pixels."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=3)
    return file.getvalue()


def look_at(data: bytes, *, name: str) -> Looked:
    """What the image is; ``BadSample`` where it cannot be decoded."""
    pixels = decode(data, name=name, target=_LOOKED_AT)
    with opened(data) as image:
        kind = image.format or ""
    found = header(data, whole=True)
    height, width = found.upright if found else pixels.shape[:2]
    return Looked(kind, width, height)


def _image(
    identity: str,
    shard: str,
    name: str,
    *,
    place: tuple[str, int, int] | None = None,
    looked: Looked | None = None,
    kind: str = "photo",
    facts: str | None = None,
    reason: str = "",
) -> dict[str, Any]:
    member, offset, size = place or (None, None, None)
    kept = {"verdict": REJECTED if reason else KEPT, "reasons": [reason] if reason else []}
    row = {"sample_id": identity, "shard": shard, "member": member, "offset": offset, "size": size, "source": name, "kind": kind}
    return {**row, **(looked._asdict() if looked else {}), **kept, "facts": facts}


def captions(record: Record) -> Iterator[dict[str, Any]]:
    """The rows of a record's captions, but for the image that they are of."""
    asked = {"prompt_id": "", "n_tokens": 0, "finish_reason": "", "attempts": 0, "request_key": ""}
    for captioner in dict.fromkeys((*record.captions, *record.unread, *record.shared)):
        detail = record.shared.get(captioner) or record.unread.get(captioner)
        status = SHARED if captioner in record.shared else UNREAD if captioner in record.unread else GIVEN
        text = record.captions.get(captioner)
        told = {"text": None if text is None else _text(text), "detail": None if detail is None else _text(detail)}
        yield {"captioner": _text(captioner), "status": status, **told, **asked}


def region_row(region: Region, classes: tuple[str, ...] = ()) -> dict[str, Any]:
    """The row of a region that came with an image, but for the ids."""
    box = [float(side) for side in region.box]
    named = classes[region.class_id] if 0 <= region.class_id < len(classes) else ""
    texts = {"phrase": region.phrase, "local_caption": region.caption or None, "ocr_text": region.text or None}
    return {
        **{name: text and _text(text) for name, text in texts.items()},
        **{"bbox": box, "bbox_double": None if _exact(box) else box, "kind": region.kind, "score": 1.0, "detector": "source"},
        **{"class_id": region.class_id, "class_name": named, "keep_prob": 1.0, "kept": True, "status": GIVEN, "reasons": []},
    }


def identified(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The regions of an image with their ids: where several are alike in all that makes the id, the end tells which this is."""
    seen = Counter[str]()
    for row in rows:
        found = region_id(row)
        seen[found] += 1
        yield {"region_id": found if seen[found] == 1 else again(found, seen[found]), **row}


def _exact(box: Sequence[float]) -> bool:
    """Whether float32 holds the numbers as they are."""
    return all(float(np.float32(side)) == side for side in box)


def region_id(row: Mapping[str, Any]) -> str:
    """32 digits of a region's sample, kind, box, phrase and detector."""
    box = np.asarray(row["bbox"], np.float32).tobytes().hex()
    told = json.dumps([row["sample_id"], row["kind"], box, row["phrase"], row["detector"]]).encode()
    return hashlib.sha256(told).hexdigest()[:32]


def again(identity: str, time: int) -> str:
    """The id of what was there before: its beginning stays, the end tells which time it is."""
    return identity[:_SAME] + hashlib.sha256(f"{identity} {time}".encode()).hexdigest()[: 32 - _SAME]


def _text(text: str, instead: Callable[[str], str] | None = None) -> str:
    """A text as UTF-8 can hold it: half a surrogate pair becomes the replacement character, as in training."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return instead(text) if instead else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _plain(value: object) -> object:
    """NumPy's numbers and arrays as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(type(value).__name__)
