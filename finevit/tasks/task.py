"""What a task of Stage III is, and the registered ones: whoever asks, scores or shows questions finds what it needs here."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from finevit.boxes import Box, fault_of_box, parse
from finevit.contracts import Question, Record, Region
from finevit.evaluation.local import GROUNDING_PROTOCOL, grounded
from finevit.registry import TASKS
from finevit.suggest import did_you_mean
from finevit.tasks.names import words

NOWHERE = "impossible boxes"
"""Counts regions of which nothing can be asked."""
LAST = 100


class Draft(NamedTuple):
    """A question before it is worded: what it is about, the boxes that question or answer name, and the answer ("" for boxes)."""

    task: str
    about: str = ""
    boxes: tuple[Box, ...] = ()
    answer: str = ""


class Need(NamedTuple):
    """What a record has to have for a task: in words, and whether it has it."""

    words: str
    has: Callable[[Record], bool]


CAPTIONS = Need("captions", lambda record: any(map(str.strip, record.captions.values())))
PHRASES = Need("regions with a phrase", lambda record: any(r.phrase.strip() and not r.text.strip() for r in record.regions))
TEXTS = Need("regions with a text", lambda record: any(region.text.strip() for region in record.regions))
COUNTS = Need("counts", lambda record: bool(record.facts.get("counts")))


class Places(NamedTuple):
    """Where a task comes when tasks are ``drawn``, when their questions are ``drafted``, and when results are ``shown``.

    Runs draw the same questions only as long as these stay; new tasks come last.
    """

    drawn: int = LAST
    drafted: int = LAST
    shown: int = LAST


@dataclass(frozen=True)
class Material:
    """What questions are made of: a record's ``regions``, the ``caption`` that was drawn of it, its ``facts``.

    A phrase or string that fits several boxes is left out, or answered with all of them (``answer_all``). With ``captions``,
    regions are also looked for by their captions. ``rng`` draws what only some of is asked; None (evaluations) takes the same
    always. ``dropped`` counts what is left out, by reason.
    """

    regions: Sequence[Region]
    caption: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    answer_all: bool = False
    captions: bool = False
    rng: np.random.Generator | None = None
    dropped: Counter[str] = field(default_factory=Counter)

    @cached_property
    def usable(self) -> list[Region]:
        """Regions whose boxes are possible."""
        return [region for region in self.regions if not fault_of_box(region.box)]

    @cached_property
    def objects(self) -> list[Region]:
        """Usable regions with a phrase, which hold no text."""
        return [region for region in self.usable if words(region.phrase) and not region.text.strip()]

    @cached_property
    def lines(self) -> list[Region]:
        """Usable regions that hold a text."""
        return [region for region in self.usable if region.text.strip()]


class Task(ABC):
    """A kind of question: how it is asked, what of, how answers are scored, and how results are shown.

    ``name`` is the registered one, which ``task_weights`` and ``Question.task`` hold.
    """

    templates: tuple[str, ...] = ()
    """Ways to ask, with ``{about}`` and ``{box}``, the first of which serves evaluations; none where a set brings its questions."""
    weight: float = 0.0
    """How much it is asked where no weights are given; 0: only where it is named in ``task_weights``."""
    need: Need = CAPTIONS
    """What a record has to have."""
    places: Places = Places()
    scores: tuple[str, ...]
    """Names of the scores, the first of which is shown; metrics are ``KEY_SCORE``."""
    key: str = ""
    """What metrics begin with; the name, where none is given."""
    protocols: tuple[str, ...]
    """Ids of how is scored."""
    local: bool = False
    """Whether the first score counts in the mean ``local``."""
    total: str = ""
    """The metric that is the number of right answers, where there is one."""
    title: str
    """The question in short."""
    measure: str
    """What its score is, below the title."""
    figure: tuple[str, str]
    """Of the first score: label, and what it is."""
    chart: str = "Further tasks"
    """The chart over the evaluations that shows the first score."""
    answers_boxes: bool = False
    """Whether answers are boxes: the true ones are drawn, and recorded questions are worded as in training."""
    wanted: str = ""
    """What an answer lacks in which there is nothing to judge (the score ``unread``)."""
    between: str = ""
    """What a score between right and wrong is called."""

    def __init__(self, *, name: str) -> None:
        self.name, self.key = name, self.key or name

    @property
    def headline(self) -> str:
        """The metric that is shown: the first score."""
        return f"{self.key}_{self.scores[0]}"

    def drafts(self, material: Material) -> Iterable[Draft]:
        """Every well-posed question about a record."""
        return ()

    @abstractmethod
    def score(self, question: Question, prediction: str) -> dict[str, float]:
        """The scores of an answer in [0, 1], in the order of ``scores``; then ``unread``, where there was nothing to judge."""


def accepted(question: Question) -> tuple[str, ...]:
    """All answers that count as right."""
    return question.answer, *question.strings


class GroundingTask(Task):
    """A question whose answer is boxes: right where they are the true ones."""

    scores, protocols, local = ("iou50",), (GROUNDING_PROTOCOL,), True
    measure, chart = "right from IoU 0.5 on", "Boxes, texts and numbers"
    answers_boxes, wanted = True, "valid box"

    def score(self, question: Question, prediction: str) -> dict[str, float]:
        if not question.boxes:
            raise ValueError(f"the {question.task} question {question.text!r} has no true box; give Question.boxes")
        found = parse(prediction, question.style, question.size)
        return {"iou50": grounded(found, question.boxes), "unread": not found}


def all_tasks() -> dict[str, Task]:
    """The registered tasks by name, in the order in which results are shown."""
    TASKS.import_from_location()
    made = [_made(name, task) for name, task in TASKS.module_dict.items()]
    return {task.name: task for task in sorted(made, key=lambda task: task.places.shown)}


@cache
def _made(name: str, task: type[Task]) -> Task:
    return task(name=name)


def task_of(question: Question) -> Task:
    """The task of a question; ``ValueError`` for an unknown one."""
    known = all_tasks()
    if question.task not in known:
        hint = f"{did_you_mean(question.task, known)}; known are {', '.join(known)}"
        raise ValueError(f"LocalTasks: a question has the task {question.task!r}, which is unknown{hint}")
    return known[question.task]


def asked_tasks() -> dict[str, Task]:
    """The tasks that are asked of records, in the order in which they are drawn."""
    return {task.name: task for task in sorted(all_tasks().values(), key=lambda task: task.places.drawn) if task.templates}


def default_weights() -> dict[str, float]:
    """How much each task is asked where no weights are given."""
    return {name: task.weight for name, task in asked_tasks().items() if task.weight}


def drafts(material: Material, tasks: Collection[str] | None = None) -> list[Draft]:
    """Every well-posed question of the tasks about a record, none twice; ``material.dropped`` counts what was left out.

    All regions count where names are compared: those that hold a text, and those with an impossible box, which leave no true
    answer at all.
    """
    material.dropped[NOWHERE] += len(material.regions) - len(material.usable)
    material.dropped["phrases without words"] += sum(bool(r.phrase) and not words(r.phrase) for r in material.usable)
    asked = [task for name, task in asked_tasks().items() if tasks is None or name in tasks]
    found = [draft for task in sorted(asked, key=lambda task: task.places.drafted) for draft in task.drafts(material)]
    return list(dict.fromkeys(found))


def check_weights(setting: str, weights: object) -> dict[str, float]:
    """Weights of tasks as floats; ``ValueError`` for an unknown task, a negative weight, or none above 0."""
    if not isinstance(weights, Mapping):
        raise ValueError(f"{setting}={weights!r}: give a weight for each task, as dict(text2box=2, counting=1)")
    known = asked_tasks()
    for task in weights:
        if task not in known:
            raise ValueError(f"{setting}: {task!r} is no task{did_you_mean(str(task), known)}; choose of {', '.join(known)}")
    values = {task: float(value) for task, value in weights.items() if _is_weight(value)}
    if len(values) < len(weights) or not any(values.values()):
        raise ValueError(f"{setting}={dict(weights)!r}: give weights of at least 0, and one above 0")
    return values


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
