"""Stage II's report: which figures, charts and pictures tell whether images and captions have met in one space."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from finevit.evaluation.results import Results
from finevit.evaluation.retrieval import by_length
from finevit.packing.packs import PackedImages
from finevit.registry import REPORT_PAGES
from finevit.visualization import pairs
from finevit.visualization.pairs import PairView, places
from finevit.visualization.plots import Series
from finevit.visualization.report import Chart, Figure, Page, ReportPage, Run
from finevit.visualization.retrieval import sections
from finevit.visualization.training import chart, effort, evaluated, further, logged, loss_chart, protocols, rates

TOLD = ("temperature", "logit_bias")


@REPORT_PAGES.register_module(name="ContrastiveLearning")
class ContrastiveLearningPage(ReportPage):
    """What a run of Stage II shows."""

    reads = frozenset({"image", "text", "tokens"})
    view = pairs.PairView

    def collect(self, views: list[Any], images: PackedImages, predictions: Sequence[dict], count: int) -> None:
        pairs.collect(views, images, predictions, count)

    def page(self, run: Run) -> Page:
        scalars, results = run.scalars, run.results
        before = run.before if [view.id for view in run.before] == [view.id for view in run.after] else []
        drawn = [
            loss_chart(scalars),
            recall(results),
            lengths(before, run.after),
            *scales(scalars),
            *rates(scalars),
            *further(scalars, TOLD),
        ]
        return Page(
            title="FineViT, Stage II",
            subtitle="Contrastive learning: images at native resolution and their long captions meet in one space.",
            figures=[
                *quality(results.at(0), results.at(run.steps), results.images),
                *effort(scalars, run.steps, run.batch, run.parameters),
            ],
            sections=sections(before, run.after),
            charts=[chart for chart in drawn if chart],
            facts=run.facts,
            config=run.config,
            footnotes=protocols(results),
        )


def quality(before: Mapping[str, float], after: Mapping[str, float], images: int) -> list[Figure]:
    """Retrieval among unseen images, next to the untrained model; only what was measured."""
    figures = []
    if "stage2/r1" in after:
        was = f"untrained {before['stage2/r1']:.1%}; " if "stage2/r1" in before else ""
        figures.append(Figure("Recall at 1", f"{after['stage2/r1']:.1%}", f"{was}mean of both ways, {images:,} unseen images"))
    for label, way in (("Text → image", "t2i"), ("Image → text", "i2t")):
        shares = {k: after[f"stage2/{way}_r{k}"] for k in (1, 5, 10) if f"stage2/{way}_r{k}" in after}
        if 1 in shares:
            note = " · ".join(f"R@{k} {share:.1%}" for k, share in shares.items() if k > 1)
            figures.append(Figure(label, f"{shares[1]:.1%}", f"R@1; {note}" if note else "R@1"))
    for key in (key for key in after if key.endswith("_top1")):
        protocol = key.removeprefix("stage2/").removesuffix("_top1")
        figures.append(Figure("Zero-shot", f"{after[key]:.1%}", f"top 1, {protocol}"))
    if "stage2/truncated" in after:
        figures.append(
            Figure("Truncated", f"{after['stage2/truncated']:.1%}", "of the captions: longer than the text encoder may read")
        )
    return figures


def recall(results: Results) -> Chart | None:
    """R@1 of both ways over the steps."""
    ways = {"text → image": "stage2/t2i_r1", "image → text": "stage2/i2t_r1"}
    lines = {name: line for label, key in ways.items() for name, line in evaluated(results, key, label).items()}
    return chart("R@1 among unseen images", lines, percent=True)


def scales(scalars: Mapping[str, Sequence[float]]) -> list[Chart | None]:
    """What the head has learned of the scale of similarities."""
    return [chart(f"Learned {name}", logged(name, scalars)) for name in TOLD]


def lengths(before: Sequence[PairView], after: Sequence[PairView]) -> Chart | None:
    """R@1, mean of both ways, in the quarters of the captions by their words, and the share truncated in each."""
    if len(after) < 16:
        return None
    words = torch.tensor([view.words for view in after])
    shares = {"R@1": _found(after), "truncated": torch.tensor([float(view.truncated) for view in after])}
    if before:
        shares["R@1, untrained"] = _found(before)
    groups = {name: by_length(words, share) for name, share in shares.items()}
    lines = {
        name: Series([(group.shortest + group.longest) / 2 for group in found], [group.r1 for group in found], marked=True)
        for name, found in groups.items()
    }
    return chart("R@1 against caption length", lines, percent=True, over="words of the caption, by quarters")


def _found(views: Sequence[PairView]) -> Tensor:
    """``[pairs]``: 1 where both ways find the truth first, 0.5 where one does."""
    return torch.stack([place == 1 for place in places(views)]).double().mean(0)
