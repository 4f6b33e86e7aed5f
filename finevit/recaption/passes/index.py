"""The first pass: images of any source are stored once, measured once, and become rows; unreadable ones with a reason."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pydantic import PositiveInt

from finevit.contracts import BadSample, Record
from finevit.datasets.decoding.images import decode, header_size, opened
from finevit.recaption.passes.base import Inputs, Output, Pass, Stopped
from finevit.recaption.quality import Quality, measure, phash
from finevit.registry import PASSES
from finevit.shards.schema import GIVEN, IMAGES, table


@PASSES.register_module()
class Index(Pass):
    """Stores the images of the source in tars, as they are, and measures them.

    Args:
        images_per_shard: rows of a shard.
        captions: whether the captions that the source has are kept beside the new ones.
    """

    name = "index"
    operational = frozenset({"images_per_shard"})  # the plan of shards holds it

    def __init__(self, *, images_per_shard: PositiveInt = 1000, captions: bool = True) -> None:
        self.images_per_shard, self.captions = images_per_shard, captions

    def process_shard(self, inputs: Inputs) -> Output:
        """Tables ``images`` and ``captions``; ``inputs.shared`` has the source and the shard's rows of it."""
        planned = inputs.shared
        images: list[dict[str, Any]] = []
        captions: list[dict[str, Any]] = []
        met: set[str] = set()
        with planned.tar() as tar:
            for row, (name, record) in enumerate(planned.records()):
                if inputs.stopping():
                    raise Stopped
                entry = {**_EMPTY, "row": row, "shard": inputs.shard, "source": name}
                if isinstance(record, BadSample):
                    entry |= {"sample_id": _identity(name.encode()), "reasons": [f"unreadable: {record}"]}
                else:
                    entry |= self._entry(record, met)
                    if entry["verdict"] == "kept":
                        member, offset, size = tar.add(entry["sample_id"], _SUFFIXES[entry["format"]], entry.pop("data"))
                        entry |= {"member": member, "offset": offset, "size": size}
                        captions += self._given(record, entry["sample_id"])
                images.append(entry)
                inputs.tick(row + 1, len(planned))
        counts = Counter(_short(entry) for entry in images)
        rows = pa.Table.from_pylist(images, schema=_INDEX)
        return Output({"images": rows, "captions": table("captions", captions)}, counts, {"tar": asdict(tar.entry)})

    def _entry(self, record: Record, met: set[str]) -> dict[str, Any]:
        """What is known of an image; what is wrong with it, where something is."""
        data = record.image if isinstance(record.image, bytes) else _png(record.image)
        identity = _identity(data)
        entry: dict[str, Any] = {"sample_id": identity}
        if identity in met:
            return entry | {"reasons": ["repeated: the same bytes come earlier in this shard"]}
        try:
            pixels = decode(data, name=record.id)
        except BadSample as error:
            size = header_size(data)
            return entry | {"reasons": [f"unreadable: {error}"], **({"height": size[0], "width": size[1]} if size else {})}
        met.add(identity)
        with opened(data) as image:
            kind = image.format
        height, width = pixels.shape[:2]
        quality = measure(pixels)
        known = {"height": height, "width": width, "format": kind, "phash": phash(pixels), **quality._asdict()}
        return entry | known | {"verdict": "kept", "data": data}

    def _given(self, record: Record, identity: str) -> Iterator[dict[str, Any]]:
        for captioner, text in record.captions.items() if self.captions else ():
            yield caption_row(identity, captioner, GIVEN, text)


def caption_row(sample: str, captioner: str, status: str, text: str | None, **other: Any) -> dict[str, Any]:
    """A row of the table of captions."""
    row = {"prompt_id": "", "finish_reason": "", "attempts": 0, "request_key": "", "detail": None, **other}
    return {**row, "sample_id": sample, "captioner": captioner, "status": status, "text": text, "n_tokens": n_tokens(text or "")}


def n_tokens(text: str) -> int:
    """Words and punctuation marks: a measure that does not depend on a model's tokenizer."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def _identity(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _short(entry: Mapping[str, Any]) -> str:
    return "kept" if entry["verdict"] == "kept" else f"rejected: {entry['reasons'][0].partition(':')[0]}"


_SUFFIXES = {
    **{"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "PPM": "ppm"},
    "AVIF": "avif",
}
_MEASURED = {"document": pa.bool_()}
_INDEX = pa.schema(
    [
        pa.field("row", pa.int32()),
        *(field.with_nullable(True) for field in IMAGES if field.name not in ("kind", *Quality._fields)),
        *(pa.field(name, _MEASURED.get(name, pa.float32())) for name in Quality._fields),
    ]
)
_EMPTY: dict[str, Any] = {"verdict": "rejected", "reasons": [], "facts": None}
