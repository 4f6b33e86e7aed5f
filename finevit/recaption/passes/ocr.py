"""Text regions, and which images are document pages: these go through OCR alone (paper, FineCap steps 1 and 6)."""

from collections import Counter

import pyarrow as pa

from finevit.recaption.contracts import OK, OCREngine, OCRRequest
from finevit.recaption.documents import is_document
from finevit.recaption.passes.base import SELECTS, Inputs, Output, Pass, engine_of, kept
from finevit.recaption.passes.grounding import region_id
from finevit.registry import PASSES
from finevit.signatures import Fraction

LINES = pa.schema(
    [
        *((name, pa.string()) for name in ("region_id", "sample_id", "text", "detector")),
        ("bbox", pa.list_(pa.float32(), 4)),
        ("quad", pa.list_(pa.float32(), 8)),
        ("score", pa.float32()),
    ]
)
KINDS = pa.schema([(name, pa.string()) for name in ("sample_id", "kind", "status", "detail")])


@PASSES.register_module()
class OCR(Pass):
    """Reads the lines of text of each image, and tells documents from other images by them.

    Args:
        ocr: config of an OCR engine.
        min_score: lines that are read with less confidence are dropped.
    """

    name = "ocr"
    reads = ("index",)
    uses = SELECTS[1:]
    asks = True

    def __init__(self, *, ocr: dict, min_score: Fraction = 0.5) -> None:
        self.ocr, self.min_score = ocr, min_score

    def process_shard(self, inputs: Inputs) -> Output:
        """The tables ``lines``, and ``kinds``: photo or document, by image, and the status of its request."""
        engine = engine_of("passes.ocr.ocr", self.ocr, OCREngine)
        images = kept(inputs)
        known = {row["sample_id"]: row for row in inputs.rows("index", "images")}
        answers = inputs.ask(engine, ((sample, OCRRequest(inputs.picture(sample))) for sample in images), total=len(images))
        lines, kinds = [], []
        for sample in images:
            answer = answers[sample]
            found = [line for line in answer.value if line["score"] >= self.min_score] if answer.status == OK else []
            document = is_document(found, hint=known[sample]["document"])
            kinds.append(
                {
                    "sample_id": sample,
                    "kind": "document" if document else "photo",
                    "status": answer.status,
                    "detail": answer.detail or None,
                }
            )
            lines += [_row(sample, line, engine.model) for line in found]
        counts = inputs.statuses + Counter(str(row["kind"]) for row in kinds) + Counter(lines=len(lines))
        tables = {"lines": pa.Table.from_pylist(lines, schema=LINES), "kinds": pa.Table.from_pylist(kinds, schema=KINDS)}
        return Output(tables, counts)


def _row(sample: str, line: dict, detector: str) -> dict:
    xs, ys = line["quad"][0::2], line["quad"][1::2]
    box = [min(xs), min(ys), max(xs), max(ys)]
    identity = region_id(sample, "text", box, line["text"], detector)
    row = {"region_id": identity, "sample_id": sample, "text": line["text"], "detector": detector}
    return {**row, "bbox": box, "quad": line["quad"], "score": line["score"]}
