"""Those who know an image and answer for it: what they say of it, of a part of it, and where what a phrase names is."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from finevit.boxes import Box
from finevit.scenes.backgrounds import COLOURS
from finevit.scenes.ground_truth import Truth
from finevit.scenes.stand_in import asked
from finevit.scenes.stand_in.perception import Item, Words, impair, perceive
from finevit.scenes.stand_in.speech import Speaker
from finevit.scenes.stand_in.wording import VOICES, Voice, place_of, size_of
from finevit.scenes.vocabulary import plural

LEAST_OVERLAP = 0.3
"""A part of an image shows what it overlaps by this IoU."""
_QUOTED = re.compile(r"[\"“](.+?)[\"”]")


@dataclass(frozen=True)
class Manner:
    """How answers are: ``noise`` and ``omissions`` are shares of facts that are wrong and missing; ``boxes_noise`` is the standard
    deviation of a box's sides, in shares of its width and height."""

    noise: float = 0.0
    omissions: float = 0.0
    boxes_noise: float = 0.0


class Witness(ABC):
    """Knows one image. Boxes are canonical xyxy."""

    @abstractmethod
    def caption(self, model: str, manner: Manner, random: Random, *, form: str) -> str:
        """What a model says of the image: a dense caption, a short one, or its subject (``asked``)."""

    @abstractmethod
    def region(self, model: str, manner: Manner, random: Random, box: Box) -> str:
        """What it says of a part."""

    @abstractmethod
    def places(self, phrase: str) -> list[Box]:
        """The true boxes of what a phrase names."""

    def boxes(self, phrase: str, manner: Manner, random: Random) -> list[Box]:
        """Boxes of what a phrase names, some missing, none exact where there is noise."""
        kept = [box for box in self.places(phrase) if random.random() >= manner.omissions]
        return [jittered(box, manner.boxes_noise, random) for box in kept]


class SceneWitness(Witness):
    """Knows an embedded scene; ``names`` are those of all classes of its level."""

    def __init__(self, truth: Truth, names: Sequence[str]) -> None:
        self._names, self._seen = names, perceive(truth)
        size = truth.plan.width, truth.plan.height
        self._items, self._lines = ([unit(one.box, *size) for one in found] for found in (truth.objects, truth.lines))

    def caption(self, model: str, manner: Manner, random: Random, *, form: str) -> str:
        speaker = self._speaker(model, manner, random)
        return {asked.SHORT: speaker.short, asked.SUBJECT: speaker.subject}.get(form, speaker.dense)()

    def region(self, model: str, manner: Manner, random: Random, box: Box) -> str:
        speaker = self._speaker(model, manner, random)
        parts = [
            *(("item", n, other) for n, other in enumerate(self._items)),
            *(("line", n, other) for n, other in enumerate(self._lines)),
        ]
        kind, number, other = max(parts, key=lambda part: overlap(part[2], box))
        if overlap(other, box) < LEAST_OVERLAP:
            return speaker.region("A part of the picture.")
        found: Iterable[Item | Words] = speaker.seen.items if kind == "item" else speaker.seen.words
        missing = "An object." if kind == "item" else "Some text."
        return speaker.region(next((one for one in found if one.number == number), missing))

    def _speaker(self, model: str, manner: Manner, random: Random) -> Speaker:
        seen = impair(self._seen, noise=manner.noise, omissions=manner.omissions, names=self._names, random=random)
        return Speaker(voice_of(model), seen, random)

    def places(self, phrase: str) -> list[Box]:
        if quoted := _QUOTED.search(phrase):
            return [self._lines[one.number] for one in self._seen.words if one.text.lower() == quoted[1].lower()]
        found = noun_in(phrase, self._names)
        if found is None:
            return [self._lines[one.number] for one in self._seen.words if one.text.lower() == phrase.strip().lower()]
        name, begin, many = found
        same = [item for item in self._seen.items if item.name == name and (not item.colour or _fits(item.colour, phrase[:begin]))]
        wanted = same if many else _narrowed(same, phrase)
        return [self._items[item.number] for item in wanted]


class ToldWitness(Witness):
    """Knows an image of a file: ``captions`` (name -> text), ``objects`` (``phrase``, ``box``), ``lines`` (``text``, ``box``)."""

    def __init__(
        self, *, captions: Mapping[str, str], objects: Sequence[Mapping[str, Any]] = (), lines: Sequence[Mapping] = ()
    ) -> None:
        self._captions = list(captions.values())
        self._told = [(str(one["phrase"]), tuple(one["box"])) for one in objects]
        self._told += [(f'"{one["text"]}"', tuple(one["box"])) for one in lines]

    @property
    def phrases(self) -> list[str]:
        """What its objects are called."""
        return [phrase for phrase, _ in self._told]

    def caption(self, model: str, manner: Manner, random: Random, *, form: str) -> str:
        if not self._captions:
            return ". ".join(self.phrases)
        if form in (asked.SHORT, asked.SUBJECT):
            return min(self._captions, key=len)
        return self._captions[list(VOICES).index(model) % len(self._captions) if model in VOICES else 0]

    def region(self, model: str, manner: Manner, random: Random, box: Box) -> str:
        phrase, other = max(self._told, key=lambda told: overlap(told[1], box), default=("", box))
        return phrase if phrase and overlap(other, box) >= LEAST_OVERLAP else "A part of the picture."

    def places(self, phrase: str) -> list[Box]:
        wanted = phrase.strip(" .").lower()
        return [box for told, box in self._told if told.lower() == wanted or told.lower().strip('"') == wanted]


def voice_of(model: str) -> Voice:
    """The voice of a model, the first one's for a name of another kind."""
    return VOICES.get(model.partition("@")[0], next(iter(VOICES.values())))


def _fits(colour: str, before: str) -> bool:
    """Whether the words before a noun do not say another colour."""
    last = before.split()[-1:] or [""]
    return last[0].lower() == colour or last[0].lower() not in COLOURS


def _narrowed(items: list[Item], phrase: str) -> list[Item]:
    """Those at the place and of the size that the phrase says, where there are any."""
    for attribute, said in (("place", place_of(phrase)), ("size", size_of(phrase))):
        items = [item for item in items if getattr(item, attribute) == said] or items
    return items


def noun_in(phrase: str, names: Sequence[str]) -> tuple[str, int, bool] | None:
    """The class that a phrase names first, of two at one place the longer, where it begins, and whether it is a plural."""
    found = _pattern(tuple(names)).search(phrase)
    if found is None:
        return None
    said = found[0].lower()
    name = _forms(tuple(names))[said]
    return name, found.start(), said != name.lower()


@cache
def _forms(names: tuple[str, ...]) -> dict[str, str]:
    """Name by each of its forms; of a name whose plural is another's singular, the singular counts."""
    return {plural(name).lower(): name for name in names} | {name.lower(): name for name in names}


@cache
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    forms = sorted(_forms(names), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, forms))})\b", re.IGNORECASE)


def unit(box: tuple[int, int, int, int], width: int, height: int) -> Box:
    """A box in pixels as a canonical one."""
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    wide, high = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    if wide <= 0 or high <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return wide * high / (sum(areas) - wide * high)


def jittered(box: Box, noise: float, random: Random) -> Box:
    """The box with each side moved at random, at least a thousandth wide and high, within the image."""
    if not noise:
        return box
    wide, high = box[2] - box[0], box[3] - box[1]
    x1, y1, x2, y2 = (side + random.gauss(0, noise) * size for side, size in zip(box, (wide, high) * 2, strict=True))
    x1, y1 = min(max(x1, 0.0), 0.999), min(max(y1, 0.0), 0.999)
    return x1, y1, min(max(x2, x1 + 0.001), 1.0), min(max(y2, y1 + 0.001), 1.0)
