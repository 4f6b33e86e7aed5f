"""The tables of a shard: what is known of its images, captions, phrases and regions.

Boxes are float32 xyxy in [0, 1] of the whole upright image (after EXIF orientation, before any resize), origin top left, x2 and y2
exclusive. A minor version adds nullable columns at the end; a reader of another major version refuses.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

NAME, VERSION = "finevit.shards", "1.0"

GIVEN = "given"
"""Status of a caption or region that came with its image; ``ok`` is that of one that was made here."""
UNREAD, SHARED, UNPLACED = "unread", "shared", "unplaced"
"""Statuses of what came with an image and is not used: a caption that cannot be read, one that many images share (``detail`` says
more), a region whose box is impossible."""
KEPT, REJECTED = "kept", "rejected"
"""Verdicts on images."""

_text, _count, _float = pa.string(), pa.int32(), pa.float32()


def _schema(*fields: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    """Columns of a name and a type, required unless a third item allows null."""
    columns = [pa.field(name, kind, nullable=bool(null)) for name, kind, *null in fields]
    return pa.schema(columns, metadata={"schema": NAME, "version": VERSION})


IMAGES = _schema(
    ("sample_id", _text),  # sha256 of the stored bytes, the first 32 hexadecimal digits
    ("shard", _text),
    ("member", _text, True),  # of the tar; null where the pixels are not stored
    ("offset", pa.int64(), True),  # where the member's bytes begin in the tar
    ("size", pa.int64(), True),
    ("format", _text, True),  # JPEG, PNG, ...
    ("width", _count, True),  # of the upright image
    ("height", _count, True),
    ("phash", _text, True),  # 16 hexadecimal digits
    ("source", _text),  # what the image was called where it came from
    ("kind", _text),  # photo (anything that is no document) or document
    ("sharpness", _float, True),  # variance of the Laplacian at a long side of 512 pixels
    ("brightness", _float, True),
    ("saturation", _float, True),
    ("verdict", _text),  # kept or rejected
    ("reasons", pa.list_(_text)),  # why rejected
    ("facts", _text, True),  # JSON of what the source knows besides
)
CAPTIONS = _schema(
    ("sample_id", _text),
    ("captioner", _text),  # model@revision, or the name that the source gives
    ("prompt_id", _text),
    ("text", _text, True),
    ("n_tokens", _count),
    ("finish_reason", _text),
    ("status", _text),
    ("attempts", _count),
    ("request_key", _text),
    ("detail", _text, True),
)
PHRASES = _schema(
    ("sample_id", _text),
    ("captioner", _text),
    ("phrase", _text),
    ("char_start", _count),
    ("char_end", _count),
    ("class_id", _count),
    ("class_name", _text),
)
REGIONS = _schema(
    ("region_id", _text),  # 32 hexadecimal digits of sample, kind, box, phrase and detector
    ("sample_id", _text),
    ("bbox", pa.list_(_float, 4)),
    ("quad", pa.list_(_float, 8), True),
    ("kind", _text),  # object, text_line or document
    ("score", _float),
    ("phrase", _text),
    ("class_id", _count),
    ("class_name", _text),
    ("detector", _text),
    ("keep_prob", _float),  # 1 / keep_prob is the weight that undoes the sampling
    ("kept", pa.bool_()),
    ("local_caption", _text, True),
    ("replaced_caption", _text, True),  # what a caption said before the text that OCR read took its place
    ("ocr_text", _text, True),
    ("ocr_score", _float, True),
    ("status", _text),
    ("reasons", pa.list_(_text)),  # why it is not kept
    ("bbox_double", pa.list_(pa.float64(), 4), True),  # the box of a source whose numbers float32 would round
)
QUESTIONS = _schema(  # optional: questions and answers that came with imported data, or that were chosen to be kept
    ("sample_id", _text),
    ("task", _text),  # global_caption, box2text, text2box, box2ocr, ocr2box, or free
    ("question_template_id", _text),
    ("question", _text),  # with placeholders <box_0>, <box_1>, ... in place of numbers
    ("answer", _text),
    ("boxes", pa.list_(pa.list_(_float, 4))),
    ("region_ids", pa.list_(_text)),
    ("turn", _count),
    ("boxes_double", pa.list_(pa.list_(pa.float64(), 4)), True),  # where float32 would round them
)
TABLES: Mapping[str, pa.Schema] = {
    "images": IMAGES,
    "captions": CAPTIONS,
    "phrases": PHRASES,
    "regions": REGIONS,
    "qa": QUESTIONS,
}
"""By the name that stands in file names: ``00000.captions.HASH.parquet``."""


def table(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of the schema; ``ValueError`` names a column that is not in it, or is missing and required."""
    schema, listed = TABLES[name], list(rows)
    known = set(schema.names)
    for row in listed:
        if odd := set(row) - known:
            raise ValueError(f"table {name}: no column {sorted(odd)[0]!r}; there are {', '.join(schema.names)}")
    made = pa.Table.from_pylist(listed, schema=schema)
    for column, field in zip(made.columns, schema, strict=True):
        if column.null_count and not field.nullable:
            raise ValueError(f"table {name}: column {field.name!r} must not be null, and is in {column.null_count} rows")
    return made
