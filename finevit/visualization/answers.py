"""Questions about unseen images and what a model answers, judged as the metric judges: what the Stage III page shows."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from finevit.boxes import Box, parse
from finevit.contracts import Question
from finevit.evaluation.local import iou
from finevit.ops.patches import unpatchify
from finevit.packing.packs import PackedImages
from finevit.tasks.task import Task, task_of
from finevit.visualization.gallery import jpeg

POOL = 64
"""Of so many unseen images a page shows answers."""
SIDE = 320
"""Longer side of a picture, in pixels."""
DRAWN = 12
"""Boxes of an answer that are drawn at most."""


class AnswerView(NamedTuple):
    """An image with its questions and answers, as plain values: ``picture`` (data URI), ``ratio`` (width / height), ``questions``
    (the fields of each :class:`~finevit.contracts.Question`), ``predictions``, and ``whole``: whether all of them are shown."""

    id: str
    picture: str
    ratio: float
    whole: bool
    questions: list[tuple]
    predictions: list[str]


class Drawn(NamedTuple):
    """A box over an image, in percent of its sides: ``kind`` is ``true``, ``predicted``, or ``named`` (by the question)."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Answer(NamedTuple):
    """An answer, judged: ``score`` names what ``value``, in [0, 1], is; an ``unread`` one should hold a box or a number and holds
    none; ``found`` are the boxes in it, ``untrained`` is what the untrained model said (None where that is not known)."""

    view: AnswerView
    question: Question
    prediction: str
    score: str
    value: float
    unread: bool
    found: list[Box]
    untrained: str | None

    @property
    def task(self) -> Task:
        """The task of the question."""
        return task_of(self.question)

    @property
    def name(self) -> str:
        """The task's name in the metric's keys."""
        return self.task.key

    @property
    def truth(self) -> str:
        """All accepted answers."""
        return " / ".join(dict.fromkeys((self.question.answer, *self.question.strings)))

    @property
    def verdict(self) -> str:
        """In words: right, wrong, without anything to judge, or how far between."""
        if self.unread:
            return f"✗ no {self.task.wanted} in the answer"
        return {0.0: "✗ wrong", 1.0: "✓ right"}.get(self.value, f"≈ {self.task.between or self.score} {self.value:.2f}")

    @property
    def tone(self) -> str:
        """Class of the verdict: ``bad``, ``good``, or ``fair`` between."""
        return {0.0: "bad", 1.0: "good"}.get(self.value, "fair")

    @property
    def overlap(self) -> float | None:
        """IoU of the first box, where one box is true and one predicted."""
        return iou(self.found[0], self.question.boxes[0]) if self.found and len(self.question.boxes) == 1 else None

    @property
    def drawn(self) -> list[Drawn]:
        """The question's boxes, then the answer's."""
        kind = "true" if self.task.answers_boxes else "named"
        return [*(_drawn(kind, box) for box in self.question.boxes), *(_drawn("predicted", box) for box in self.found[:DRAWN])]


def collect(views: list[AnswerView], images: PackedImages, predictions: Sequence[dict], count: int) -> None:
    """Adds a loader's batch (pixels still uint8) to the views, until there are ``POOL``; the first ``count`` are shown whole."""
    patch = round((images.pixels.shape[1] / 3) ** 0.5)
    for pixels, shape, values in zip(images.pixels.split(list(images.seqlens)), images.shapes, predictions, strict=True):
        if len(views) == POOL or len(pixels) != shape[0] * shape[1]:
            continue
        picture = jpeg(unpatchify(pixels, shape, patch).permute(1, 2, 0).cpu(), side=SIDE)
        questions = [tuple(_plain(Question(*question))) for question in values["questions"]]
        views.append(
            AnswerView(
                str(values.get("id", "")), picture, shape[1] / shape[0], len(views) < count, questions, list(values["predictions"])
            )
        )


def judged(views: Sequence[AnswerView], before: Sequence[AnswerView] = ()) -> list[Answer]:
    """Every answer of the views, in their order, next to that of the untrained model."""
    first = {
        (view.id, question): prediction
        for view in before
        for question, prediction in zip(view.questions, view.predictions, strict=True)
    }
    return [
        _judged(view, question, prediction, first.get((view.id, question)))
        for view in views
        for question, prediction in zip(view.questions, view.predictions, strict=True)
    ]


def ranked(answers: Iterable[Answer]) -> list[Answer]:
    """Failures first, of these the ones without anything to judge; right ones last."""
    return sorted(answers, key=lambda answer: (answer.value, not answer.unread))


def chosen(answers: Iterable[Answer], count: int) -> list[Answer]:
    """Failures, then others, each spread evenly; a third are others where there are so many, more where failures are few."""
    ordered = ranked(answers)
    failed = [answer for answer in ordered if not answer.value]
    others = ordered[len(failed) :]
    wanted = max(min(len(failed), count - count // 3), count - len(others))
    return [*_spread(failed, wanted), *_spread(others, count - wanted)]


def _judged(view: AnswerView, fields: tuple, prediction: str, untrained: str | None) -> Answer:
    question = Question(*fields)
    task = task_of(question)
    scores = task.score(question, prediction)
    score, value = next(iter(scores.items()))
    found = parse(prediction, question.style, question.size) if task.answers_boxes else []
    return Answer(view, question, prediction, score, float(value), bool(scores.get("unread")), found, untrained)


def _plain(question: Question) -> Question:
    """Without NumPy's numbers, which a stored view must not hold."""
    boxes = tuple((float(x), float(y), float(right), float(low)) for x, y, right, low in question.boxes)
    height, width = map(int, question.size)
    return question._replace(boxes=boxes, strings=tuple(question.strings), size=(height, width))


def _drawn(kind: str, box: Box) -> Drawn:
    x, y, right, low = (100 * value for value in box)
    return Drawn(kind, x, y, right - x, low - y)


def _spread(values: list[Answer], count: int) -> list[Answer]:
    """So many of the values, evenly from the first on."""
    shown = min(count, len(values))
    return [values[place * len(values) // shown] for place in range(shown)]
