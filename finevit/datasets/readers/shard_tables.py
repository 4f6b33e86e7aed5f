"""What the tables of a shard say of each of its images: found by the image's place, held in Arrow's arrays or mapped from disk."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finevit.console import say
from finevit.shards.files import read_table
from finevit.shards.manifest import Manifest, Shard
from finevit.shards.schema import GIVEN, SHARED, TABLES, UNPLACED, UNREAD
from finevit.storage.durable import write_file
from finevit.storage.places import cache_folder

OK = "ok"
COLUMNS = {
    "captions": ("captioner", "text", "status", "detail"),
    "regions": ("bbox", "bbox_double", "kind", "phrase", "class_id", "local_caption", "ocr_text", "kept"),
    "qa": ("task", "question", "answer", "boxes", "boxes_double"),
}
LARGE = 1 << 28
"""Bytes of a dataset's tables above which they are unpacked into the user's cache folder once, and mapped from there: workers and
runs share the memory, and a start takes no time. Smaller ones are held in memory."""
_FORM = 1


def large(manifest: Manifest) -> bool:
    """Whether the tables of a dataset are mapped, which is said."""
    size = sum(shard.files[name].bytes for shard in manifest.shards for name in COLUMNS if name in shard.files)
    if size > LARGE:
        say(f"tables of {size / 1e9:.1f} GB are read through {_place()}; what is not there yet is unpacked, once")
    return size > LARGE


def _place() -> Path:
    return cache_folder() / "shards"


class Annotations:
    """The usable rows of a shard's table, those of one image after the other: of image ``i`` from ``starts[i]`` on."""

    def __init__(self, table: pa.Table, starts: np.ndarray, path: Path | None = None) -> None:
        self.table, self.starts, self._path = table, starts, path

    def __reduce__(self) -> tuple:
        """A process that gets a copy maps the file for itself."""
        return (mapped, (self._path,)) if self._path else (Annotations, (self.table, self.starts))

    def of(self, row: int) -> list[dict[str, Any]]:
        """The rows of an image, in their order."""
        first, last = self.starts[row : row + 2].tolist()
        return self.table.slice(first, last - first).to_pylist() if last > first else []

    def captioned(self) -> int:
        """How many images have a caption that was made or given."""
        usable = np.cumsum([0, *pc.is_in(self.table["status"], pa.array([OK, GIVEN])).to_numpy(zero_copy_only=False)])
        return int((np.diff(usable[self.starts]) > 0).sum())


def annotations(root: Path, shard: Shard, name: str, ids: pa.ChunkedArray, *, on_disk: bool) -> Annotations:
    """What a table says of the images of these ids; ``on_disk`` maps it from the cache folder, where that takes it."""
    if name not in shard.files or not on_disk:
        return _read(root, shard, name, ids)
    told = [_FORM, shard.files["images"].sha256, shard.files[name].sha256, COLUMNS[name]]
    mark = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
    try:
        path = _place() / f"{mark}.arrow"
        if not path.is_file():
            made = _read(root, shard, name, ids)
            write_file(path, lambda file: _write(made, file), shared=True)
        return mapped(path)
    except (OSError, pa.ArrowInvalid):  # a full or closed place costs memory, a damaged file time
        return _read(root, shard, name, ids)


def mapped(path: Path) -> Annotations:
    """What was written into the cache folder; the system loads what is looked at."""
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    return Annotations(table, np.frombuffer(table.schema.metadata[b"starts"], np.int64), path)


def _write(made: Annotations, file: Any) -> None:
    table = made.table.replace_schema_metadata({"starts": made.starts.astype(np.int64).tobytes()}).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    file.write(sink.getvalue())


def _read(root: Path, shard: Shard, name: str, ids: pa.ChunkedArray) -> Annotations:
    columns: Sequence[str] = COLUMNS[name]
    if name not in shard.files:
        return Annotations(TABLES[name].empty_table().select(columns), np.zeros(len(ids) + 1, np.int64))
    found = read_table(root / shard.files[name].path)
    if name == "captions":
        found = found.filter(pc.is_in(found["status"], pa.array([OK, GIVEN, UNREAD, SHARED])))
    elif name == "regions":
        found = found.filter(pc.or_(found["kept"], pc.equal(found["status"], UNPLACED)))
    places = pc.index_in(found["sample_id"].cast(pa.large_string()), value_set=ids.combine_chunks())
    belongs = pc.is_valid(places)
    rows = places.filter(belongs).to_numpy().astype(np.int64)
    table = found.select(columns).filter(belongs).take(pa.array(np.argsort(rows, kind="stable"))).combine_chunks()
    return Annotations(table, np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(ids)))]))
