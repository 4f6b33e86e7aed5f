"""Stage III's report: which figures, charts and pictures tell whether a language model can read the encoder's tokens."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any, NamedTuple

from finevit.evaluation.results import Results
from finevit.packing.packs import PackedImages
from finevit.registry import REPORT_PAGES
from finevit.tasks.task import Task, all_tasks
from finevit.visualization import answers
from finevit.visualization.answers import Answer, AnswerView, chosen, judged, ranked
from finevit.visualization.plots import Series
from finevit.visualization.report import Chart, Figure, Page, ReportPage, Run, Section, fragment
from finevit.visualization.training import chart, effort, evaluated, further, loss_chart, protocols, rates, smoothed

SHOWN = 9
"""So many answers of a task are shown at most."""


class Group(NamedTuple):
    """A task: its ``share`` right (or mean score) of ``questions``, the untrained model's (None where unknown), and answers."""

    name: str
    title: str
    measure: str
    share: float
    untrained: float | None
    questions: int
    answers: list[Answer]


def sections(
    before: Sequence[AnswerView], after: Sequence[AnswerView], measured: Mapping[str, float], untrained: Mapping[str, float]
) -> list[Section]:
    """Task by task and image by image; nothing where nothing was answered."""
    answers = judged(after, before)
    if not answers:
        return []
    among = f"among the questions about {len(after):,} unseen images"
    return [
        Section(
            "Task by task",
            fragment("by_task.html", groups=groups(answers, measured, untrained)),
            f"Open a task to see answers, {among}: failures first (of these, answers without a box or number to judge), "
            "then right ones, each spread evenly. Shares are of all questions.",
        ),
        Section(
            "Image by image",
            fragment("by_image.html", images=whole(answers)),
            "Images with all of their questions, the worst first. The pictures show every box that was asked for; "
            "point at a question, or focus it, to see its boxes alone.",
        ),
    ]


def groups(answers: Sequence[Answer], measured: Mapping[str, float], untrained: Mapping[str, float]) -> list[Group]:
    """The tasks that were asked, in the metric's order; shares are the metric's, which has seen every image."""
    found: dict[str, list[Answer]] = {task.key: [] for task in all_tasks().values()}
    for answer in answers:
        found[answer.name].append(answer)
    return [_group(asked[0].task, asked, measured, untrained) for asked in found.values() if asked]


def whole(answers: Sequence[Answer]) -> list[list[Answer]]:
    """The answers about each image that is shown whole: failures first, the image with the lowest mean first."""
    images = [ranked(asked) for view, asked in groupby(answers, lambda answer: answer.view) if view.whole]
    return sorted(images, key=lambda asked: fmean(answer.value for answer in asked))


def _group(task: Task, answers: list[Answer], measured: Mapping[str, float], untrained: Mapping[str, float]) -> Group:
    key, mean = f"stage3/{task.key}_{answers[0].score}", fmean(answer.value for answer in answers)
    questions = int(measured.get(f"stage3/{task.key}_n", len(answers)))
    share = measured.get(key, mean)
    return Group(task.key, task.title, task.measure, share, untrained.get(key), questions, chosen(answers, SHOWN))


OVERALL = {
    "local": ("Local mean", "boxes, texts and numbers"),
    "parse_failures": ("Parse failures", "no box or number in the answer"),
}
"""Metrics over all tasks: label and what it is."""


@REPORT_PAGES.register_module(name="LLMAlignment")
class LLMAlignmentPage(ReportPage):
    """What a run of Stage III shows."""

    reads = frozenset({"questions", "predictions"})
    view = answers.AnswerView

    def collect(self, views: list[Any], images: PackedImages, predictions: Sequence[dict], count: int) -> None:
        answers.collect(views, images, predictions, count)

    def page(self, run: Run) -> Page:
        scalars, results = run.scalars, run.results
        untrained, measured = results.at(0), results.at(run.steps)
        drawn = [
            loss_chart(scalars),
            accuracy(scalars),
            *scores(results),
            *rates(scalars),
            *further(scalars, {"token_accuracy"}),
        ]
        return Page(
            title="FineViT, Stage III",
            subtitle="LLM alignment: a language model reads the encoder's tokens and answers questions about unseen images.",
            figures=[*quality(untrained, measured), *effort(scalars, run.steps, run.batch, run.parameters)],
            sections=sections(run.before, run.after, measured, untrained),
            charts=[chart for chart in drawn if chart],
            facts=run.facts,
            config=run.config,
            footnotes=protocols(results),
        )


def figures() -> dict[str, tuple[str, str]]:
    """Of each metric that is a figure: label and what it is."""
    return {**OVERALL, **{task.headline: task.figure for task in all_tasks().values()}}


def charts() -> dict[str, list[str]]:
    """Which metrics share a chart over the evaluations."""
    found: dict[str, list[str]] = {}
    for task in all_tasks().values():
        found.setdefault(task.chart, []).append(task.headline)
    return {**{title: list(dict.fromkeys(names)) for title, names in found.items()}, "Local mean and parse failures": list(OVERALL)}


def quality(before: Mapping[str, float], after: Mapping[str, float]) -> list[Figure]:
    """Shares of right answers and mean scores next to the untrained model's; only what was measured."""
    found = []
    for name, (label, what) in figures().items():
        if (key := f"stage3/{name}") in after:
            was = f"; untrained {before[key]:.1%}" if key in before else ""
            asked = after.get(f"stage3/{name.rpartition('_')[0]}_n")
            count = f"; {asked:,.0f}\N{NO-BREAK SPACE}questions" if asked else ""
            found.append(Figure(label, f"{after[key]:.1%}", f"{what}{was}{count}"))
    return found


def accuracy(scalars: Mapping[str, Sequence[float]]) -> Chart | None:
    """The share of supervised tokens that would be written as they are."""
    values = scalars.get("token_accuracy", ())
    return chart("Token accuracy in training", {"token accuracy": smoothed(values)} if len(values) else {}, percent=True)


def scores(results: Results) -> list[Chart | None]:
    """Each task's score over the steps."""
    return [chart(title, _lines(results, names), percent=True) for title, names in charts().items()]


def _lines(results: Results, names: Sequence[str]) -> dict[str, Series]:
    labels = figures()
    found = (evaluated(results, f"stage3/{name}", labels[name][0]) for name in names)
    return {label: line for lines in found for label, line in lines.items()}
