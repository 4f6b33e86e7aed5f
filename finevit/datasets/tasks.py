"""The five tasks of Stage III out of one record, and counting: questions hold placeholders until their boxes are rendered.

Boxes are canonical until here: augmentations have moved them before a question is worded.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

from finevit.boxes import Box, fault_of_box
from finevit.contracts import Region
from finevit.suggest import did_you_mean


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
NOWHERE = "impossible boxes"
"""Counts regions of which nothing can be asked."""

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Signs of Thai, Lao, Burmese, Khmer, Japanese and Chinese."""


class Name(NamedTuple):
    """What a region is called, its ``words`` alone; a ``caption`` may also tell of what lies around it.

    ``exact`` is what is written there, signs too; "" for what is said about it, where signs mean nothing.
    """

    words: str
    box: Box
    caption: bool = False
    exact: str = ""


def drafts(
    regions: Sequence[Region],
    caption: str,
    counts: Mapping[str, int],
    *,
    answer_all: bool = False,
    captions: bool = False,
    tasks: Container[str] = TASKS,
) -> tuple[list[Draft], Counter[str]]:
    """Every well-posed question of the ``tasks`` about a record, none twice, and how many were left out, by reason.

    A phrase or string that fits several boxes is left out, or answered with all of them (``answer_all``). All regions count there:
    those that hold a text, and those with an impossible box, which leave no true answer at all. With ``captions``, regions are also
    looked for by their captions.
    """
    usable = [region for region in regions if not fault_of_box(region.box)]
    objects = [region for region in usable if words(region.phrase) and not region.text.strip()]
    lines = [region for region in usable if region.text.strip()]
    dropped = Counter({NOWHERE: len(regions) - len(usable)})
    dropped["phrases without words"] = sum(bool(region.phrase) and not words(region.phrase) for region in usable)
    found = [Draft("global_caption", answer=caption)] if caption.strip() else []
    found += [Draft("box2text", boxes=(region.box,), answer=region.caption.strip() or region.phrase) for region in objects]
    found += [Draft("box2ocr", boxes=(region.box,), answer=region.text) for region in lines]
    names = [region.phrase for region in objects] + [region.caption for region in objects if captions]
    written = [Name(words(region.text), region.box, exact=" ".join(_plain(region.text).split())) for region in regions]
    for task, asked, pool in (("text2box", names, _called(regions)), ("ocr2box", [region.text for region in lines], written)):
        found += _located(task, asked, pool, answer_all, dropped) if task in tasks else ()
    found += [Draft("counting", about=name, answer=str(count)) for name, count in counts.items()]
    return [draft for draft in dict.fromkeys(found) if draft.task in tasks], +dropped


def _called(regions: Sequence[Region]) -> list[Name]:
    """Phrases and captions of all regions."""
    phrases = [Name(words(region.phrase), region.box) for region in regions]
    return phrases + [Name(words(region.caption), region.box, caption=True) for region in regions]


def _located(task: str, names: Sequence[str], pool: Sequence[Name], answer_all: bool, dropped: Counter[str]) -> Iterator[Draft]:
    """Questions for the boxes of what is named; each name is asked for once, however it is spelt."""
    spelt = {words(name): name for name in reversed(names)}
    for said in dict.fromkeys(filter(None, map(words, names))):
        near = [name for name in pool if fits(said, name.words)]
        boxes = tuple(dict.fromkeys(name.box for name in near if not name.caption or name.words == said))
        alike = {name.exact for name in near if name.words == said}
        if any(fault_of_box(name.box) for name in near):
            dropped[f"{task} of an impossible box"] += 1
        elif {name.box for name in near} == set(boxes) and (len(boxes) == 1 or (answer_all and len(alike) == 1)):
            yield Draft(task, about=spelt[said], boxes=boxes)
        else:
            dropped[f"ambiguous {task}"] += 1


def words(text: str) -> str:
    """The words of a text in lower case, one space between: names that have the same are the same.

    Letters count as the same in each of Unicode's forms. Of scripts that put no space between words each sign is one.
    """
    plain = _plain(text)
    if not plain.isascii():
        plain = "".join(char if char.isalnum() or unicodedata.category(char)[0] == "M" else " " for char in plain)
        plain = _UNSPACED.sub(r" \g<0> ", plain)
        return " ".join(plain.split())
    return " ".join(_WORD.findall(plain))


def _plain(text: str) -> str:
    """The text in lower case and in one of Unicode's forms."""
    return unicodedata.normalize("NFKC", text).casefold()


def fits(said: str, other: str) -> bool:
    """Whether what is called ``other`` may be meant by ``said``, both as :func:`words`: "house" fits "red house"."""
    return f" {said} " in f" {other} "


def check_weights(setting: str, weights: object) -> dict[str, float]:
    """Weights of tasks as floats; ``ValueError`` for an unknown task, a negative weight, or none above 0."""
    if not isinstance(weights, Mapping):
        raise ValueError(f"{setting}={weights!r}: give a weight for each task, as dict(text2box=2, counting=1)")
    for task in weights:
        if task not in TASKS:
            raise ValueError(f"{setting}: {task!r} is no task{did_you_mean(str(task), TASKS)}; choose of {', '.join(TASKS)}")
    values = {task: float(value) for task, value in weights.items() if _is_weight(value)}
    if len(values) < len(weights) or not any(values.values()):
        raise ValueError(f"{setting}={dict(weights)!r}: give weights of at least 0, and one above 0")
    return values


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
