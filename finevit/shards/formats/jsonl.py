"""The project's own JSON lines: one entry an image, with captions by captioner and regions (docs/data.md)."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finevit.contracts import Region, Source
from finevit.datasets.readers.jsonlines import JsonLines
from finevit.registry import SHARD_FORMATS

from .base import ShardFormat, Stored, count_left, put, stored


@SHARD_FORMATS.register_module(name="jsonl")
class Jsonl(ShardFormat):
    """``annotations.jsonl`` and ``images/``; texts, boxes, kinds and classes come back as they were."""

    def records(self, path: Path, *, images: Path | None, style: str) -> Source:
        """As ``data_root`` reads it; captions that many images share are kept."""
        return JsonLines(data_root=path, image_root=images, split="all", repeated=None)

    def write(self, source: Source, out: Path, *, style: str, advance: Callable[[], object]) -> Counter[str]:
        """Writes images and one file of lines."""
        left_out, lines = Counter[str](), list[str]()
        for item in stored(source, left_out, advance):
            put(out / "images" / item.file, item.data)
            count_left(item.record, left_out, known={"captions", "regions", "regions with an impossible box"})
            lines.append(json.dumps({"image": f"images/{item.file}", **entry(item)}, ensure_ascii=False) + "\n")
        put(out / "annotations.jsonl", "".join(lines).encode())
        return left_out


def entry(item: Stored) -> dict[str, Any]:
    """A record as an entry, but for its image: what ``readers.annotations`` reads."""
    record = item.record
    regions = [*map(_region, record.regions), *map(_region, record.unplaced)]
    found = {"id": record.id, "width": item.width, "height": item.height, "captions": dict(record.captions), "regions": regions}
    return {name: value for name, value in found.items() if value != {} and value != []}


def _region(region: Region) -> dict[str, Any]:
    texts = {name: text for name in ("phrase", "caption", "text") if (text := getattr(region, name))}
    told = {} if region.class_id < 0 else {"class_id": region.class_id}
    return {"box": list(region.box), "kind": region.kind, **texts, **told}
