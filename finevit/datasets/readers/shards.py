"""Training from shards: pixels at random places of tars, captions and regions out of Parquet tables (``finevit.shards``)."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import NonNegativeFloat

from finevit.contracts import Question, Record, Region
from finevit.registry import DATASETS
from finevit.shards.files import read_table
from finevit.shards.manifest import PIXELS, Shard, digest, folder_of, load
from finevit.shards.schema import KEPT, SHARED, UNREAD

from .files import FileSource, Skipped, existing, read
from .shard_tables import COLUMNS, Annotations, annotations, large
from .splits import Holdout

_SAME = 24
"""Digits of a sample id that images of the same bytes share; the split keeps these together."""
_PLACE, _SIZE = ("tar", "offset", "size"), ("height", "width")
_IMAGES = ("sample_id", *_PLACE[1:], *_SIZE, "source", "facts")


@DATASETS.register_module()
class ShardRecords(FileSource):
    """The images of a dataset of shards that its newest manifest keeps, or that another manifest of it keeps.

    Captions are those that were made or given (the names of captioners are their ``model@revision``, or what the source called
    them), regions those that are kept; what was rejected is left out and counted. Records have the names that their images had
    where they came from, and these decide the split as with other readers, except that images of the same bytes stay together.
    Offsets, sizes and texts are held in arrays, the texts of large datasets mapped from the cache folder (``shard_tables``); pixels
    are read when asked for.

    Args:
        data_root: the folder, or one of its ``manifests/``.
        split: see ``splits.select``.
        holdout: the share that is held out.
        captioners: which captions count, and with what weight one is drawn, where the transforms do not say; None: all, alike.
    """

    def __init__(
        self,
        *,
        data_root: str | Path,
        split: str = "train",
        holdout: Holdout = 0.02,
        captioners: Mapping[str, NonNegativeFloat] | None = None,
    ):
        path = existing(data_root)
        manifest = load(path)
        root = folder_of(path)
        self.captioners, self.classes = captioners, list(manifest.classes)
        self._tars = [root / shard.files[PIXELS].path if PIXELS in shard.files else root for shard in manifest.shards]
        rejected, images, on_disk = Counter[str](), [], large(manifest)
        self._said: dict[str, list[Annotations]] = {name: [] for name in COLUMNS}
        for number, shard in enumerate(manifest.shards):
            kept = _images(root, shard, number, rejected)
            images.append(kept)
            for name, said in self._said.items():
                said.append(annotations(root, shard, name, kept["sample_id"], on_disk=on_disk))
        if not any(map(len, images)):
            raise ValueError(f"data_root={str(data_root)!r} keeps no image: {_counted(rejected) or 'it has none'}")
        found = pa.concat_tables(images).combine_chunks()
        self._places, self._sizes = (np.stack([found[name] for name in names], axis=1) for names in (_PLACE, _SIZE))
        self._names, self._facts = (found[name].combine_chunks() for name in ("source", "facts"))
        self._first = np.cumsum([0, *map(len, images)])
        captioned = sum(said.captioned() for said in self._said["captions"])
        super().__init__(data_root=root, keys=_keys(found), captioned=captioned, skipped=Skipped(), split=split, holdout=holdout)
        self._about += f"; manifest {digest(manifest)[:12]}"
        if rejected:
            self._about += f"; {sum(rejected.values()):,} rejected images left out ({_counted(rejected)})"

    def record(self, row: int) -> Record:
        """Reads an image out of its tar, and what is said of it."""
        name, facts = self._names[row].as_py(), self._facts[row].as_py()
        path, offset, size = self.image_at(row)
        image = read(path, name=name, offset=offset, size=size)
        shard = int(self._places[row, 0])
        said = {name: tables[shard].of(row - int(self._first[shard])) for name, tables in self._said.items()}
        captions, unread, shared = _captions(said["captions"])
        regions, questions = said["regions"], tuple(map(_question, said["qa"]))
        return Record(
            id=name,
            image=image,
            captions=captions,
            unread=unread,
            shared=shared,
            regions=tuple(_region(region) for region in regions if region["kept"]),
            unplaced=tuple(_region(region) for region in regions if not region["kept"]),
            facts={**(json.loads(facts) if facts else {}), **({"questions": questions} if questions else {})},
        )

    def size(self, index: int) -> tuple[int, int]:
        """As the table of images says."""
        height, width = self._sizes[self._rows[index]].tolist()
        return height, width

    def image_at(self, row: int) -> tuple[Path, int, int]:
        """A part of a tar."""
        tar, offset, size = self._places[row].tolist()
        return self._tars[tar], offset, size


def _images(root: Path, shard: Shard, number: int, rejected: Counter[str]) -> pa.Table:
    """The kept images of a shard; the others are counted by the first of their reasons, without its details."""
    if "images" not in shard.files:
        raise ValueError(f"data_root={str(root)!r}: shard {shard.name} of its manifest has no table of images")
    found = read_table(root / shard.files["images"].path)
    keep = pc.and_(pc.equal(found["verdict"], KEPT), pc.is_valid(found["member"]))
    for reasons in found["reasons"].filter(pc.invert(keep)).to_pylist():
        rejected[(reasons or ["not stored"])[0].partition(":")[0]] += 1
    kept = found.filter(keep)
    if len(kept):
        _check_tar(root, shard)
    for name in (*_PLACE[1:], *_SIZE):
        if kept[name].null_count:
            raise ValueError(f"{root / shard.files['images'].path}: kept images lack their {name}; see finevit shards check")
    columns = {name: kept[name] for name in _IMAGES} | {"tar": pa.array(np.full(len(kept), number, np.int32))}
    return _wide(pa.table(columns))


def _check_tar(root: Path, shard: Shard) -> None:
    """``ValueError`` where the tar is missing, or of another size than it was written."""
    if PIXELS not in shard.files:
        raise ValueError(f"data_root={str(root)!r}: shard {shard.name} of its manifest has no pixels")
    path, size = root / shard.files[PIXELS].path, shard.files[PIXELS].bytes
    found = path.stat().st_size if path.is_file() else -1
    if found != size:
        told = "is missing" if found < 0 else f"has {found:,} of {size:,} bytes"
        raise ValueError(f"{path} {told}; copy it again, then try finevit shards check {root}")


def _wide(table: pa.Table) -> pa.Table:
    """Texts with offsets of 64 bits, so that all shards fit into one array; without the metadata of the file."""
    fields = [pa.field(field.name, pa.large_string() if field.type == pa.string() else field.type) for field in table.schema]
    return table.cast(pa.schema(fields))


def _keys(images: pa.Table) -> list[str]:
    """The names that decide the split: an image of bytes that were there before has the name of the first one."""
    names = images["source"].to_pylist()
    same = pc.utf8_slice_codeunits(images["sample_id"], 0, _SAME).combine_chunks().dictionary_encode()
    if len(same.dictionary) == len(names):
        return names
    groups = same.indices.to_numpy()
    _, first = np.unique(groups, return_index=True)
    return [names[place] for place in first[groups]]


def _captions(rows: list[dict[str, Any]]) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Captions, those that cannot be read, and those that many images share, by captioner; a second text has a number."""
    captions, unread, shared = dict[str, str](), dict[str, str](), dict[str, str]()
    for row in rows:
        name, told = row["captioner"], row["detail"] or ""
        name = next(name for name in _numbered(name) if name not in captions and name not in shared)
        if row["status"] == SHARED:
            shared[name] = told
            continue
        if row["status"] == UNREAD:
            unread[name] = told
        captions[name] = row["text"] or ""
    return captions, unread, shared


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in range(2, 1 << 30))


def _region(row: Mapping[str, Any]) -> Region:
    texts = {"phrase": row["phrase"] or "", "caption": row["local_caption"] or "", "text": row["ocr_text"] or ""}
    return Region(box=tuple(row["bbox_double"] or row["bbox"]), kind=row["kind"], class_id=row["class_id"], **texts)


def _question(row: Mapping[str, Any]) -> Question:
    return Question(row["task"], row["question"], row["answer"], tuple(map(tuple, row["boxes_double"] or row["boxes"])))


def _counted(rejected: Counter[str]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in rejected.most_common(8))
