"""Which images are good enough, by what the first pass measured (paper, FineCap step 1; about 3 % go there)."""

from collections import Counter
from typing import Annotated

import pyarrow as pa
from annotated_types import Ge
from pydantic import NonNegativeFloat, PositiveInt

from finevit.recaption.passes.base import VERDICTS, Inputs, Output, Pass
from finevit.recaption.quality import Limits, Quality, reasons
from finevit.registry import PASSES
from finevit.signatures import Fraction

_DEFAULT = Limits()


@PASSES.register_module()
class QualityFilter(Pass):
    """Rejects images by size, shape, sharpness, exposure and saturation. The scores stay; another limit measures nothing anew.

    Args:
        short_side: least pixels of the shorter side (paper: 448).
        aspect: the longer side over the shorter one, at most (paper: 3).
        sharpness: least variance of the Laplacian at the fixed long side.
        dark: largest share of nearly black pixels.
        bright: largest share of nearly white pixels.
        vivid: largest share of pixels of nearly full saturation.
    """

    name = "quality"
    reads = ("index",)

    def __init__(
        self,
        *,
        short_side: PositiveInt = _DEFAULT.short_side,
        aspect: Annotated[float, Ge(1)] = _DEFAULT.aspect,
        sharpness: NonNegativeFloat = _DEFAULT.sharpness,
        dark: Fraction = _DEFAULT.dark,
        bright: Fraction = _DEFAULT.bright,
        vivid: Fraction = _DEFAULT.vivid,
    ) -> None:
        self.limits = Limits(short_side, aspect, sharpness, dark, bright, vivid)

    def process_shard(self, inputs: Inputs) -> Output:
        """The table ``verdicts``, a row for each image that the first pass kept."""
        rows, counts = [], Counter[str]()
        for entry in inputs.rows("index", "images"):
            if entry["verdict"] == "kept":
                why = reasons(Quality(*(entry[name] for name in Quality._fields)), entry["width"], entry["height"], self.limits)
                rows.append({"row": entry["row"], "verdict": "rejected" if why else "kept", "reasons": why})
                counts[f"rejected: {why[0].partition(':')[0]}" if why else "kept"] += 1
        return Output({"verdicts": pa.Table.from_pylist(rows, schema=VERDICTS)}, counts)
