"""The region check: a grounder is asked for what the local caption says, and should find the region again."""

import pyarrow as pa

from finevit.recaption.boxes import agreement
from finevit.recaption.contracts import OK, Grounder, GroundRequest
from finevit.recaption.passes.base import Inputs, Output, Pass, engine_of
from finevit.registry import PASSES
from finevit.signatures import Fraction

CHECKED = pa.schema(
    [*((name, pa.string()) for name in ("region_id", "status", "detail")), ("agreement", pa.float32()), ("confirmed", pa.bool_())]
)


@PASSES.register_module()
class RegionCheck(Pass):
    """Asks for each local caption in its image. The share that is not found again is a figure of quality.

    Args:
        grounder: config of a grounder.
        iou: least IoU of the region with a box that is found.
        drop: whether regions that are not confirmed are dropped, or only marked.
    """

    name = "region_check"
    reads = ("local_captions", "sample")
    asks = True

    def __init__(self, *, grounder: dict, iou: Fraction = 0.5, drop: bool = True) -> None:
        self.grounder, self.iou, self.drop = grounder, iou, drop

    def process_shard(self, inputs: Inputs) -> Output:
        """The table ``checks``, by region."""
        engine = engine_of("passes.region_check.grounder", self.grounder, Grounder)
        boxes = {row["region_id"]: row["bbox"] for row in inputs.rows("sample", "regions")}
        captions = [row for row in inputs.rows("local_captions", "captions") if row["status"] == OK]
        asked = {row["region_id"]: GroundRequest(inputs.picture(row["sample_id"]), (row["text"],)) for row in captions}
        answers = inputs.ask(engine, asked.items(), total=len(asked))
        rows = []
        for region in asked:
            answer = answers[region]
            best = agreement(boxes[region], [found["box"] for found in answer.value]) if answer.status == OK else None
            confirmed = best is not None and best >= self.iou
            row = {"region_id": region, "status": answer.status, "detail": answer.detail or None}
            rows.append({**row, "agreement": best, "confirmed": confirmed})
        found_again = sum(row["confirmed"] for row in rows)
        unconfirmed = sum(row["status"] == OK for row in rows) - found_again
        counts = {**inputs.statuses, "confirmed": found_again, "unconfirmed": unconfirmed}
        return Output({"checks": pa.Table.from_pylist(rows, schema=CHECKED)}, counts)
