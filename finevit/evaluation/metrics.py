"""MMEngine metrics over a stage's predictions; the arithmetic is in ``finevit.evaluation.functional``.

Each class names the protocol of its numbers in ``protocol``; ``ResultsHook`` writes it beside them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from finevit.evaluation.functional import (
    PROBE_PROTOCOL,
    VARIANCE_PROTOCOL,
    Deviations,
    deviations,
    linear_probe,
    merged,
)
from finevit.registry import METRICS


@METRICS.register_module()
class ExplainedVariance(BaseMetric):
    """``r2`` of the teacher's features at masked patches, streamed: only sums per image are kept.

    Reads ``id``, ``target``, ``prediction`` and ``mask`` of each prediction. Images that come twice count once.
    """

    default_prefix = "stage1"
    protocol = VARIANCE_PROTOCOL

    def __init__(self, *, collect_device: str = "cpu") -> None:
        super().__init__(collect_device)

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            mask = sample["mask"]
            found = deviations(sample["prediction"][mask].cpu(), sample["target"][mask].cpu())
            self.results.append({"id": sample.get("id"), "found": found})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        return {"r2": merged([Deviations(*result["found"]) for result in different(results)]).r2()}


@METRICS.register_module()
class PatchProbe(BaseMetric):
    """A linear probe on frozen patch tokens: the object class of foreground patches.

    Every second image of the set trains the probe, the others test it; the encoder has seen none of them. Keys: ``probe`` (top-1),
    ``probe_balanced`` (mean over classes) and, with ``teacher``, ``probe_teacher``: the same probe on the teacher's features, which
    bounds what a student can be expected to learn; as they never change, they are probed once. No label maps, no keys. Images that
    come twice count once.

    Args:
        teacher: whether to probe the teacher's features too.
        collect_device: ``cpu`` or ``gpu``, as for every MMEngine metric.
    """

    default_prefix = "stage1"
    protocol = PROBE_PROTOCOL

    def __init__(self, *, teacher: bool = True, collect_device: str = "cpu") -> None:
        super().__init__(collect_device)
        self.teacher = teacher
        self._ceiling: float | None = None

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            labels = sample.get("labels", sample["tokens"].new_full((len(sample["tokens"]),), -1).long())
            known = labels >= 0
            kept = {"id": sample.get("id"), "labels": labels[known].cpu(), "tokens": sample["tokens"][known].float().cpu()}
            if self.teacher and self._ceiling is None:
                kept["target"] = sample["target"][known].float().cpu()
            self.results.append(kept)

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        results = different(results)
        if len(results) < 2:
            return {}
        names = results[0].keys() - {"id"}
        train, test = ({name: torch.cat([r[name] for r in results[start::2]]) for name in names} for start in (0, 1))
        if not len(train["labels"]) or not len(test["labels"]):
            return {}
        classes = int(max(train["labels"].max(), test["labels"].max())) + 1
        scores = {
            name: linear_probe(train[name], train["labels"], test[name], test["labels"], classes=classes)
            for name in names - {"labels"}
        }
        values = {"probe": scores["tokens"].accuracy, "probe_balanced": scores["tokens"].balanced}
        if "target" in scores:
            self._ceiling = scores["target"].accuracy
        return values if self._ceiling is None else {**values, "probe_teacher": self._ceiling}


def different(results: Sequence[dict]) -> list[dict]:
    """Each image once, by its ``id`` if any: a distributed sampler fills up its last batch, a loader replaces bad samples."""
    return list({result.get("id") or index: result for index, result in enumerate(results)}.values())
