"""Context-aware local captions: part and whole image together to the captioner (paper, FineCap step 5)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from finevit.boxes import render
from finevit.recaption.contracts import OK, Captioner, CaptionRequest
from finevit.recaption.passes.base import Inputs, Output, Pass, Rows, engine_of
from finevit.recaption.prompts import LOCAL, LOCAL_SUFFIX
from finevit.registry import PASSES
from finevit.signatures import Fraction

LOCAL_CAPTIONS = pa.schema(
    [
        *((name, pa.string()) for name in ("region_id", "sample_id", "captioner", "text", "finish_reason", "status")),
        ("attempts", pa.int32()),
        ("request_key", pa.string()),
        ("detail", pa.string()),
    ]
)


@PASSES.register_module()
class LocalCaptions(Pass):
    """A caption of each region that is kept.

    Args:
        captioner: config of a captioner.
        prompt: the static text, which regions of one image share.
        suffix: the text behind the part; ``{box}`` is its box in thousandths.
        margin: the part is larger than the box by this share of its sides.
    """

    name = "local_captions"
    reads = ("sample",)
    asks = True

    def __init__(self, *, captioner: dict, prompt: str = LOCAL, suffix: str = LOCAL_SUFFIX, margin: Fraction = 0.05) -> None:
        self.captioner, self.prompt, self.suffix, self.margin = captioner, prompt, suffix, margin

    def process_shard(self, inputs: Inputs) -> Output:
        """The table ``captions``, by region."""
        engine = engine_of("passes.local_captions.captioner", self.captioner, Captioner)
        regions = [row for row in inputs.rows("sample", "regions") if row["kept"]]
        answers = inputs.ask(engine, self._requests(inputs, regions), total=len(regions))
        rows = []
        for region in regions:
            answer = answers[region["region_id"]]
            rows.append(
                {
                    "region_id": region["region_id"],
                    "sample_id": region["sample_id"],
                    "captioner": engine.model,
                    "text": answer.value if answer.status == OK else None,
                    "finish_reason": answer.finish_reason,
                    "status": answer.status,
                    "attempts": answer.attempts,
                    "request_key": engine.key(self._request(inputs, region)),
                    "detail": answer.detail or None,
                }
            )
        return Output({"captions": pa.Table.from_pylist(rows, schema=LOCAL_CAPTIONS)}, inputs.statuses)

    def _requests(self, inputs: Inputs, regions: Rows) -> Iterator[tuple[Any, CaptionRequest]]:
        """Regions of one image follow each other, as the table has them."""
        return ((region["region_id"], self._request(inputs, region)) for region in regions)

    def _request(self, inputs: Inputs, region: dict) -> CaptionRequest:
        whole = inputs.picture(region["sample_id"])
        x1, y1, x2, y2 = box = region["bbox"]
        wide, high = self.margin * (x2 - x1), self.margin * (y2 - y1)
        around = max(x1 - wide, 0), max(y1 - high, 0), min(x2 + wide, 1), min(y2 + high, 1)
        part = replace(whole, box=around)
        told = render([tuple(box)], "norm1000", (0, 0))
        return CaptionRequest(self.prompt, (whole, part), self.suffix.replace("{box}", told))
