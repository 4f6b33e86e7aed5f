"""Tars as img2dataset and webdataset have them: ``KEY.jpg``, ``KEY.txt`` and ``KEY.json``."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from finevit.contracts import Source
from finevit.datasets.readers.annotations import UNNAMED
from finevit.datasets.readers.tars import TarShards
from finevit.registry import SHARD_FORMATS
from finevit.shards.files import TarWriter
from finevit.shards.writing import SHARD

from .base import ShardFormat, Stored, count_left, stored
from .jsonl import entry


@SHARD_FORMATS.register_module(name="img2dataset")
class Img2dataset(ShardFormat):
    """``00000.tar``, ...: the first caption is the ``.txt``, which names no captioner; other captions and regions are in the
    ``.json``."""

    def records(self, path: Path, *, images: Path | None, style: str) -> Source:
        """As ``data_root`` reads them; ids are ``TAR/KEY``."""
        if images is not None:
            raise ValueError(f"--images {str(images)!r}: the images of tars lie in them; leave it out")
        return TarShards(data_root=path, split="all")

    def write(self, source: Source, out: Path, *, style: str, advance: Callable[[], object]) -> Counter[str]:
        """Writes tars of 10,000 images."""
        left_out = Counter[str]()
        for shard, items in groupby(stored(source, left_out, advance), lambda item: item.number // SHARD):
            _write(out / f"{shard:05d}.tar", items, left_out)
        left_out["names of images, which the tars call by numbers"] = len(source)
        return left_out


def _write(path: Path, items: Iterator[Stored], left_out: Counter[str]) -> None:
    with TarWriter(path) as tar:
        for item in items:
            key, _, suffix = item.file.partition(".")
            tar.add(key, suffix, item.data)
            told = entry(item)
            captions = told.pop("captions", {})
            if first := next(iter(captions), ""):
                tar.add(key, "txt", captions.pop(first).encode())
                left_out["captions whose captioner a .txt does not name"] += first != UNNAMED
            others = {"captions": captions} if captions else {}
            tar.add(key, "json", json.dumps({"key": key, **told, **others}, ensure_ascii=False).encode())
            count_left(item.record, left_out, known={"captions", "regions", "regions with an impossible box"})
