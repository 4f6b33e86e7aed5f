"""What the stand-in takes in of a scene: the truth as small facts, of which a share is wrong and a share missing."""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from random import Random
from typing import NamedTuple, TypeVar

from finevit.scenes.backgrounds import COLOURS, TEXTURES, Background
from finevit.scenes.captions import light_of, shape_of
from finevit.scenes.ground_truth import Told, Truth
from finevit.scenes.stand_in import backdrops, wording
from finevit.scenes.text_rendering import FONTS, INKS, WORDS
from finevit.scenes.vocabulary import all_things

T = TypeVar("T")
SHAPES = frozenset(thing.name for thing in all_things() if thing.is_shape)
"""Classes that have a colour."""
RATIOS = tuple(f"{tenths / 10:.1f}" for tenths in range(10, 31))
CORNERS = tuple(f"{row} {side}" for row in ("top", "bottom") for side in ("left", "right"))


class Item(NamedTuple):
    """One object; an attribute that is missing is empty. ``number`` is its place among the truth's objects."""

    number: int
    colour: str
    name: str
    size: str
    place: str
    pose: str
    cover: str

    @property
    def noun(self) -> str:
        """Name with colour."""
        return f"{self.colour} {self.name}".strip()


class Words(NamedTuple):
    """One line of text; ``number`` is its place among the truth's lines, -1 where there is none such."""

    number: int
    text: str
    ink: str
    font: str
    place: str


class Backdrop(NamedTuple):
    """The background; of a photograph ``first`` is the subject. ``direction`` is that of stripes, or where a gradient starts."""

    texture: str
    first: str
    second: str
    direction: str = ""


class Perception(NamedTuple):
    """What may be said: ``relations`` between nouns, ``total`` number of objects, ``ratio`` of the sides, ``counts`` by noun."""

    items: tuple[Item, ...]
    words: tuple[Words, ...]
    backdrop: Backdrop
    relations: tuple[tuple[str, str, str], ...]
    total: int
    counts: dict[str, int]
    largest: str
    light: str
    shape: str
    ratio: str
    empty: tuple[str, ...]
    absent: tuple[str, ...]
    wordless: bool


def perceive(truth: Truth) -> Perception:
    """All of it, and nothing wrong."""
    nouns = Counter(told.noun for told in truth.objects)
    named = [(truth.objects[one.subject].noun, one.relation, truth.objects[one.object].noun) for one in truth.relations]
    return Perception(
        items=tuple(_item(number, told) for number, told in enumerate(truth.objects)),
        words=tuple(Words(number, line.text, line.ink, line.font, line.place) for number, line in enumerate(truth.lines)),
        backdrop=_backdrop(truth.plan.background),
        relations=tuple(one for one in named if nouns[one[0]] == nouns[one[2]] == 1),
        total=len(truth.objects),
        counts={noun: count for noun, count in nouns.items() if count > 1},
        largest=max(truth.objects, key=lambda told: told.pixels).noun if len(truth.objects) > 1 else "",
        light=light_of(truth.plan.lights),
        shape=shape_of(truth.plan),
        ratio=_ratio(truth.plan.width / truth.plan.height),
        empty=tuple(truth.empty),
        absent=tuple(truth.absent),
        wordless=not truth.lines,
    )


def _ratio(sides: float) -> str:
    return f"{max(sides, 1 / sides):.1f}"


def _backdrop(back: Background) -> Backdrop:
    if back.photograph:
        return Backdrop("photograph", back.photograph.subject, "")
    eighth = round(back.angle / 0.7854) % 4
    direction = {"stripes": (*backdrops.STRIPES, "diagonal")[eighth], "gradient": tuple(backdrops.ENDS)[eighth]}.get(
        back.texture, ""
    )
    return Backdrop(back.texture, back.first, back.second, direction)


def _item(number: int, told: Told) -> Item:
    colour = told.noun.removesuffix(told.name).strip()
    return Item(number, colour, told.name, told.size, told.place, told.pose, told.cover)


def impair(seen: Perception, *, noise: float, omissions: float, names: Sequence[str], random: Random) -> Perception:
    """Each fact is missing with the probability ``omissions`` and, if it is not, wrong with ``noise``.

    ``names`` are those of all classes: what is wrongly seen is one of them.
    """
    eye = Eye(seen, noise, omissions, names, random)
    nouns = [item.noun for item in seen.items]
    words = tuple(eye.words(one) for one in eye.kept(seen.words))
    return seen._replace(
        items=tuple(eye.item(item) for item in eye.kept(seen.items)),
        words=(eye.imagined(),) if seen.wordless and eye.errs() else words,
        backdrop=Backdrop("", "", "") if eye.misses() else eye.backdrop(seen.backdrop),
        relations=tuple(eye.relation(one) for one in eye.kept(seen.relations)),
        total=0 if eye.misses() else eye.number(seen.total),
        counts={noun: eye.number(count) for noun, count in eye.kept(tuple(seen.counts.items()))},
        largest=eye.maybe(seen.largest, nouns),
        light=eye.maybe(seen.light, tuple(wording.LIGHTS)),
        shape=eye.maybe(seen.shape, tuple(wording.FORMATS)),
        ratio=eye.maybe(seen.ratio, RATIOS),
        empty=tuple(eye.other(corner, CORNERS, seen.empty) for corner in eye.kept(seen.empty)),
        absent=tuple(eye.other(name, [item.name for item in seen.items], seen.absent) for name in eye.kept(seen.absent)),
        wordless=seen.wordless and not eye.misses(),
    )


class Eye:
    """Draws what is missed and what is mistaken for what."""

    def __init__(self, seen: Perception, noise: float, omissions: float, names: Sequence[str], random: Random) -> None:
        self._noise, self._omissions, self._random = noise, omissions, random
        there = {item.name for item in seen.items}
        self._names = [name for name in names if name not in there]

    def misses(self) -> bool:
        """Whether a fact is missing."""
        return self._random.random() < self._omissions

    def errs(self) -> bool:
        """Whether a fact is wrong."""
        return self._random.random() < self._noise

    def kept(self, facts: Sequence[T]) -> list[T]:
        """Those that are not missing."""
        return [fact for fact in facts if not self.misses()]

    def other(self, value: str, choices: Iterable[str], true: Container[str] = ()) -> str:
        """The value or, where it is mistaken, one of the choices that is not true; the value where there is none."""
        if not value or not self.errs():
            return value
        wrong = [choice for choice in choices if choice != value and choice not in true]
        return self._random.choice(wrong) if wrong else value

    def maybe(self, value: str, choices: Iterable[str], true: Container[str] = ()) -> str:
        """As ``other``, or nothing where it is missing."""
        return "" if self.misses() else self.other(value, choices, true)

    def number(self, count: int) -> int:
        """A count, or one that is off by one or two."""
        return count + self._random.choice((-1, 1, 2) if count > 1 else (1, 2)) if self.errs() else count

    def item(self, item: Item) -> Item:
        """An object of whose attributes some are missing and some wrong."""
        name = self.other(item.name, self._names)
        colour = self.other(item.colour, COLOURS)
        return Item(
            item.number,
            colour if name == item.name or name in SHAPES else "",
            name,
            self.maybe(item.size, wording.SIZES),
            self.maybe(item.place, wording.PLACES),
            self.maybe(item.pose, wording.POSES),
            self.maybe(item.cover, wording.COVERS),
        )

    def words(self, words: Words) -> Words:
        """A line of text, perhaps misread."""
        text = self._another_word(words.text) if self.errs() else words.text
        ink, font = self.maybe(words.ink, INKS), self.maybe(words.font, FONTS)
        return Words(words.number, text, ink, font, self.maybe(words.place, wording.PLACES))

    def imagined(self) -> Words:
        """A line of text where there is none."""
        pick = self._random.choice
        return Words(-1, pick(WORDS).upper(), pick(tuple(INKS)), pick(tuple(FONTS)), pick(tuple(wording.PLACES)))

    def backdrop(self, back: Backdrop) -> Backdrop:
        """A background; a photograph is mistaken for a pattern."""
        if back.texture == "photograph":
            mistaken = Backdrop(self._random.choice(tuple(TEXTURES)), *self._random.sample(tuple(COLOURS), 2))
            return mistaken if self.errs() else back
        texture = self.other(back.texture, TEXTURES)
        colours = self.other(back.first, COLOURS, (back.second,)), self.other(back.second, COLOURS, (back.first,))
        directions = {"stripes": backdrops.STRIPES, "gradient": tuple(backdrops.ENDS)}.get(texture, ())
        known = self.other(back.direction, directions) if texture == back.texture else ""
        return Backdrop(texture, *colours, known or (self._random.choice(directions) if directions else ""))

    def relation(self, relation: tuple[str, str, str]) -> tuple[str, str, str]:
        """A relation, or its reverse."""
        one, kind, other = relation
        return (other, kind, one) if self.errs() else relation

    def _another_word(self, text: str) -> str:
        """Another word in the same case."""
        word = self._random.choice([word for word in WORDS if word != text.lower()])
        return word.upper() if text.isupper() else word.title() if text.istitle() else word
