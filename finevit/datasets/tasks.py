"""The five tasks of Stage III out of one record, and counting: questions hold placeholders until their boxes are rendered.

Boxes are canonical until here: augmentations have moved them before a question is worded.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from finevit.contracts import Region
from finevit.suggest import did_you_mean

Box = tuple[float, float, float, float]


class Draft(NamedTuple):
    """A question before it is worded: what it is about, the boxes that question or answer name, and the answer ("" for boxes)."""

    task: str
    about: str = ""
    boxes: tuple[Box, ...] = ()
    answer: str = ""


WORDINGS: dict[str, tuple[str, ...]] = {
    "global_caption": ("Describe this image.", "What does this picture show?", "Write a caption.", "What can be seen here?"),
    "box2text": ("What is in {box}?", "Describe the region {box}.", "What can be seen at {box}?", "Name what {box} holds."),
    "text2box": ("Where is {about}?", "Locate {about}.", "Give the box of {about}.", "Find {about} in the image."),
    "box2ocr": ("What is written in {box}?", "Read the text at {box}.", "Which text does {box} hold?", "Transcribe {box}."),
    "ocr2box": ("Where is the text “{about}”?", "Locate the words “{about}”.", "Find where it says “{about}”."),
    "counting": ("How many of these are there: {about}?", "Count: {about}.", "What is the number of {about} here?"),
}
"""Ways to ask, the first of which serves evaluations."""
TASKS = tuple(WORDINGS)
"""The paper's five, and counting, which is one more question about the whole image."""


def drafts(
    regions: Sequence[Region], caption: str, counts: Mapping[str, int], *, answer_all: bool = False, captions: bool = False
) -> tuple[list[Draft], Counter[str]]:
    """Every well-posed question about a record, and how many were left out, by reason.

    A phrase or string that fits several regions is left out, or answered with all their boxes (``answer_all``). With ``captions``,
    regions are also looked for by their captions.
    """
    found, dropped = list[Draft](), Counter[str]()
    objects = [region for region in regions if region.phrase and not region.text]
    lines = [region for region in regions if region.text]
    found += [Draft("global_caption", answer=caption)] if caption else []
    found += [Draft("box2text", boxes=(region.box,), answer=region.caption or region.phrase) for region in objects]
    found += [Draft("box2ocr", boxes=(region.box,), answer=region.text) for region in lines]
    found += _located("text2box", [(region.phrase, region.box) for region in objects], answer_all, dropped)
    told = [(region.caption, region.box) for region in objects if captions and region.caption]
    found += _located("text2box", told, answer_all, dropped)
    found += _located("ocr2box", [(region.text, region.box) for region in lines], answer_all, dropped)
    found += [Draft("counting", about=name, answer=str(count)) for name, count in counts.items()]
    return found, dropped


def _located(task: str, named: Sequence[tuple[str, Box]], answer_all: bool, dropped: Counter[str]) -> Iterator[Draft]:
    """Questions for the box of what is named; each name is asked for once."""
    for name in dict.fromkeys(name for name, _ in named):
        boxes = tuple(box for other, box in named if fits(name, other))
        if len(boxes) == 1 or answer_all:
            yield Draft(task, about=name, boxes=boxes)
        else:
            dropped[f"ambiguous {task}"] += 1


def fits(phrase: str, other: str) -> bool:
    """Whether what is called ``other`` may be meant by ``phrase``: "house" fits a "red house", "red house" no "house"."""
    short, long = phrase.casefold().split(), other.casefold().split()
    return any(long[start : start + len(short)] == short for start in range(len(long) - len(short) + 1))


def check_weights(setting: str, weights: Mapping[str, object]) -> dict[str, float]:
    """Weights of tasks as floats; ``ValueError`` for an unknown task, a negative weight, or none above 0."""
    for task in weights:
        if task not in TASKS:
            raise ValueError(f"{setting}: {task!r} is no task{did_you_mean(str(task), TASKS)}; choose of {', '.join(TASKS)}")
    values = {task: float(value) for task, value in weights.items() if isinstance(value, int | float) and 0 <= value < math.inf}
    if len(values) < len(weights) or not any(values.values()):
        raise ValueError(f"{setting}={dict(weights)!r}: give weights of at least 0, and one above 0")
    return values
