"""The pictures of the Stage III page: answers task by task, and images with all of their questions; failures first."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

from finevit.tasks.task import Task, all_tasks
from finevit.visualization.answers import Answer, View, chosen, judged, ranked
from finevit.visualization.report import Section, fragment

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
    before: Sequence[View], after: Sequence[View], measured: Mapping[str, float], untrained: Mapping[str, float]
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
