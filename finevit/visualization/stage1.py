"""Stage I's report: which figures, charts and pictures tell whether masked distillation worked."""

from collections.abc import Mapping, Sequence
from typing import Any

from finevit.evaluation.results import Results
from finevit.packing.packs import PackedImages
from finevit.registry import REPORT_PAGES
from finevit.visualization import gallery
from finevit.visualization.report import Chart, Figure, Page, ReportPage, Run
from finevit.visualization.training import chart, effort, evaluated, further, loss_chart, protocols, rates, smoothed

R2, PROBE, CEILING = "stage1/r2", "stage1/probe", "stage1/probe_teacher"


@REPORT_PAGES.register_module(name="MaskedDistillation")
class MaskedDistillationPage(ReportPage):
    """What a run of Stage I shows."""

    reads = frozenset({"target", "prediction", "mask", "tokens"})
    view = gallery.MaskedView

    def collect(self, views: list[Any], images: PackedImages, predictions: Sequence[dict], count: int) -> None:
        views += gallery.views(images, predictions, count - len(views))

    def page(self, run: Run) -> Page:
        scalars, results = run.scalars, run.results
        figures = quality(results.at(0), results.at(run.steps))
        drawn = [loss_chart(scalars), *learning(scalars, results), *rates(scalars), *further(scalars, {"r2"})]
        return Page(
            title="FineViT, Stage I",
            subtitle="Masked feature distillation: the encoder learns to tell what a frozen teacher sees in patches hidden from "
            "it.",
            figures=[*figures, *effort(scalars, run.steps, run.batch, run.parameters)],
            sections=gallery.sections("What it sees", gallery.columns(run.before, run.after)),
            charts=[chart for chart in drawn if chart],
            facts=run.facts,
            config=run.config,
            footnotes=footnotes(results),
        )


def quality(before: Mapping[str, float], after: Mapping[str, float]) -> list[Figure]:
    """What was learned, next to the untrained encoder and to the teacher; only what was measured."""
    figures = []
    if R2 in after:
        was = f"untrained {before[R2]:.2f}; " if R2 in before else ""
        figures.append(Figure("Masked R²", f"{after[R2]:.3f}", f"teacher's features; {was}1 is perfect".replace("-", "−")))
    if PROBE in after:
        gain = (after[PROBE] - before[PROBE]) * 100 if PROBE in before else None
        was = "" if gain is None else f"; untrained {before[PROBE]:.1%}, {gain:+.1f} points".replace("-", "−")
        figures.append(Figure("Patch probe", f"{after[PROBE]:.1%}", f"object class, linear{was}"))
    if CEILING in after:
        figures.append(Figure("Teacher's probe", f"{after[CEILING]:.1%}", "the same probe on its features"))
    return figures


def learning(scalars: Mapping[str, Sequence[float]], results: Results) -> list[Chart | None]:
    """R² of training and of unseen images, and the probe beside the teacher's."""
    explained = {"training batches": smoothed(scalars["r2"])} if len(scalars.get("r2", ())) else {}
    probes = {**evaluated(results, PROBE, "student"), **evaluated(results, CEILING, "teacher")}
    return [
        chart("R² at masked patches", {**explained, **evaluated(results, R2, "unseen images")}),
        chart("Patch probe: object class, linear", probes, percent=True),
    ]


def footnotes(results: Results) -> list[str]:
    """How the figures were taken."""
    told = protocols(results)
    return [*told, "The probe is trained on the patches of every second of these images and tested on the others."] if told else []
