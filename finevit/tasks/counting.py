"""How many objects of a kind there are: one more question about the whole image."""

from collections.abc import Iterator, Mapping

import numpy as np

from finevit.contracts import Question
from finevit.evaluation import local as measures
from finevit.registry import TASKS
from finevit.tasks.task import COUNTS, Draft, Material, Places, Task

EVERYTHING = "objects of any kind"
"""What is counted when all objects are; facts about counts tell of every object that there is."""


@TASKS.register_module("counting")
class Counting(Task):
    """Of every class that is there, of all objects, and of one class that is not there."""

    templates = ("How many of these are there: {about}?", "Count: {about}.", "What is the number of {about} here?")
    weight, need, places = 1.0, COUNTS, Places(drawn=5, drafted=5, shown=3)
    scores, protocols, local = ("exact",), (measures.COUNTING_PROTOCOL,), True
    title, measure = "How many?", "right where the number is"
    figure, chart, wanted = ("Counting", "exact"), "Boxes, texts and numbers", "number"

    def drafts(self, material: Material) -> Iterator[Draft]:
        told: Mapping[str, object] = material.facts.get("counts", {})
        absent, rng = material.facts.get("absent", ()), material.rng
        counts = {name: int(count) for name, count in told.items() if _is_count(count)}  # type: ignore[call-overload]
        material.dropped["counts that are no whole numbers"] += len(told) - len(counts)
        missing = absent[len(counts) % len(absent) if rng is None else rng.integers(len(absent))] if absent else None
        whole = {EVERYTHING: sum(counts.values())} if counts and len(counts) == len(told) else {}
        for name, count in {**counts, **whole, **({missing: 0} if missing else {})}.items():
            yield Draft(self.name, about=name, answer=str(count))

    def score(self, question: Question, prediction: str) -> dict[str, float]:
        found = measures.number(prediction)
        return {"exact": found is not None and found == measures.number(question.answer), "unread": found is None}


def _is_count(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 0)
