"""The pictures of the Stage III page: answers task by task, and images with all of their questions; failures first."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

from finevit.evaluation.local_metrics import TASKS
from finevit.visualization.answers import Answer, View, chosen, judged, ranked
from finevit.visualization.report import Section, fragment

SHOWN = 9
"""So many answers of a task are shown at most."""
TITLES = {
    "text2box": ("Where is it?", "right from IoU 0.5 on"),
    "ocr2box": ("Where is this text?", "right from IoU 0.5 on"),
    "box2ocr": ("What is written there?", "right where every character is"),
    "counting": ("How many?", "right where the number is"),
    "box2text": ("What is in the box?", "ROUGE-L against the true words"),
    "global_caption": ("What does the image show?", "ROUGE-L against the true words"),
    "docvqa": ("What does the document say?", "ANLS against the accepted answers"),
    "ocrbench": ("OCRBench", "right where an accepted answer is part of it"),
}
"""Of each task, the question in short, and what its share is."""


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
    names = dict.fromkeys(task.name for task in TASKS.values())
    found = {name: [answer for answer in answers if answer.name == name] for name in names}
    return [_group(name, asked, measured, untrained) for name, asked in found.items() if asked]


def whole(answers: Sequence[Answer]) -> list[list[Answer]]:
    """The answers about each image that is shown whole: failures first, the image with the lowest mean first."""
    images = [ranked(asked) for view, asked in groupby(answers, lambda answer: answer.view) if view.whole]
    return sorted(images, key=lambda asked: fmean(answer.value for answer in asked))


def _group(name: str, answers: list[Answer], measured: Mapping[str, float], untrained: Mapping[str, float]) -> Group:
    key, mean = f"stage3/{name}_{answers[0].score}", fmean(answer.value for answer in answers)
    questions = int(measured.get(f"stage3/{name}_n", len(answers)))
    return Group(name, *TITLES[name], measured.get(key, mean), untrained.get(key), questions, chosen(answers, SHOWN))
