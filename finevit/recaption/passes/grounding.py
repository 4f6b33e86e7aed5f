"""Boxes of the noun phrases (paper, FineCap step 3: Grounding DINO, confidence at least 0.3)."""

import hashlib

import pyarrow as pa

from finevit.recaption.contracts import OK, Grounder, GroundRequest
from finevit.recaption.passes.base import Inputs, Output, Pass, engine_of
from finevit.recaption.passes.phrases import class_name
from finevit.registry import PASSES
from finevit.signatures import Fraction

CANDIDATES = pa.schema(
    [
        *((name, pa.string()) for name in ("region_id", "sample_id", "phrase", "class_name", "detector")),
        ("bbox", pa.list_(pa.float32(), 4)),
        ("score", pa.float32()),
    ]
)
FAILED = pa.schema([(name, pa.string()) for name in ("sample_id", "status", "detail")])


@PASSES.register_module()
class Grounding(Pass):
    """Finds the phrases of each image in it. All phrases of an image, of all its captions, go in one request, each string once.

    Args:
        grounder: config of a grounder.
        min_score: boxes below this confidence are dropped (paper: 0.3).
    """

    name = "grounding"
    reads = ("phrases",)
    asks = True

    def __init__(self, *, grounder: dict, min_score: Fraction = 0.3) -> None:
        self.grounder, self.min_score = grounder, min_score

    def process_shard(self, inputs: Inputs) -> Output:
        """The tables ``candidates``, and ``failed``: images without an answer."""
        engine = engine_of("passes.grounding.grounder", self.grounder, Grounder)
        phrases: dict[str, dict[str, None]] = {}
        for row in inputs.rows("phrases", "phrases"):
            phrases.setdefault(row["sample_id"], {})[row["phrase"]] = None
        asked = {sample: GroundRequest(inputs.picture(sample), tuple(found)) for sample, found in phrases.items()}
        answers = inputs.ask(engine, asked.items(), total=len(asked))
        rows, failed = {}, []
        for sample, request in asked.items():
            answer = answers[sample]
            if answer.status != OK:
                failed.append({"sample_id": sample, "status": answer.status, "detail": answer.detail})
                continue
            for found in answer.value:
                if found["score"] >= self.min_score:
                    row = _row(sample, request.phrases[found["phrase"]], found["box"], found["score"], engine.model)
                    rows[row["region_id"]] = row
        made = pa.Table.from_pylist(list(rows.values()), schema=CANDIDATES)
        tables = {"candidates": made, "failed": pa.Table.from_pylist(failed, schema=FAILED)}
        return Output(tables, {**inputs.statuses, "boxes": len(rows)})


def _row(sample: str, phrase: str, box: list[float], score: float, detector: str) -> dict:
    identity = region_id(sample, "object", box, phrase, detector)
    row = {"region_id": identity, "sample_id": sample, "phrase": phrase, "class_name": class_name(phrase), "detector": detector}
    return {**row, "bbox": box, "score": score}


def region_id(sample: str, kind: str, box: list[float], phrase: str, detector: str) -> str:
    """32 hexadecimal digits of what a region is."""
    told = "\0".join([sample, kind, ",".join(f"{side:.6f}" for side in box), phrase, detector])
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]
