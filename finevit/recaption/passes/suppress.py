"""One box for each thing: non-maximum suppression, and the most regions of an image (paper, FineCap step 3: NMS at IoU 0.7)."""

from collections import Counter

import numpy as np
import pyarrow as pa
from pydantic import PositiveInt

from finevit.recaption.boxes import nms
from finevit.recaption.passes.base import Inputs, Output, Pass
from finevit.recaption.passes.grounding import CANDIDATES
from finevit.registry import PASSES
from finevit.signatures import Fraction

SUPPRESSED = pa.schema([*CANDIDATES, ("reasons", pa.list_(pa.string()))])


@PASSES.register_module()
class SuppressBoxes(Pass):
    """Says of each candidate whether it stays: the best of those that overlap does, up to so many in an image.

    Args:
        iou: boxes that overlap a better one by more are dropped, whatever they are called (paper: 0.7).
        per_image: most regions of an image, the best ones.
        min_side: least side of a box as a share of the image's.
        max_area: boxes of a larger share of the image say nothing of a part.
    """

    name = "suppress"
    reads = ("grounding",)

    def __init__(
        self, *, iou: Fraction = 0.7, per_image: PositiveInt = 40, min_side: Fraction = 0.01, max_area: Fraction = 0.95
    ) -> None:
        self.iou, self.per_image, self.min_side, self.max_area = iou, per_image, min_side, max_area

    def process_shard(self, inputs: Inputs) -> Output:
        """The table ``regions``: the candidates with reasons, none for those that stay."""
        images: dict[str, list[dict]] = {}
        for row in inputs.rows("grounding", "candidates"):
            images.setdefault(row["sample_id"], []).append(row)
        rows = [row for found in images.values() for row in self._judged(found)]
        counts = Counter(f"rejected: {row['reasons'][0].partition(':')[0]}" if row["reasons"] else "kept" for row in rows)
        return Output({"regions": pa.Table.from_pylist(rows, schema=SUPPRESSED)}, counts)

    def _judged(self, found: list[dict]) -> list[dict]:
        """The candidates of an image, best first; equal scores by their ids, so that the order does not matter."""
        found = sorted(found, key=lambda row: (-row["score"], row["region_id"]))
        for row in found:
            x1, y1, x2, y2 = row["bbox"]
            row["reasons"] = []
            if min(x2 - x1, y2 - y1) < self.min_side:
                row["reasons"] = ["small: a side below min_side"]
            elif (x2 - x1) * (y2 - y1) > self.max_area:
                row["reasons"] = ["whole image: larger than max_area"]
        rest = [row for row in found if not row["reasons"]]
        boxes, scores = np.array([row["bbox"] for row in rest]).reshape(-1, 4), np.array([row["score"] for row in rest])
        stay = set(nms(boxes, scores, self.iou).tolist())
        for index, row in enumerate(rest):
            if index not in stay:
                row["reasons"] = ["overlap: a better box covers it"]
        for row in [row for row in rest if not row["reasons"]][self.per_image :]:
            row["reasons"] = ["per image: more than per_image"]
        return found
