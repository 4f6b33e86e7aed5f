"""From what is taken in of a scene to a caption, in one of the voices."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

from finevit.scenes.stand_in.backdrops import BACKDROPS, ENDS
from finevit.scenes.stand_in.perception import Backdrop, Item, Perception, Words
from finevit.scenes.stand_in.wording import (
    COVERS,
    FORMATS,
    LIGHTS,
    NOWHERE,
    NUMBERS,
    PICTURES,
    PLACES,
    POSES,
    RELATIONS,
    SHORTS,
    SIZES,
    Voice,
)
from finevit.scenes.vocabulary import is_plural, listing, plural, with_article

FEWEST_WORDS, MOST_WORDS = 60, 230
"""Of a dense caption of which nothing is missing."""
GOAL = (70, 130)
"""A caption ends when it has so many words, drawn for each, and the objects and texts have been told."""
FAVOURED = 0.4
"""How often a voice's favourite word is taken without a draw."""
ABSENT = (3, 7)
"""Most classes whose absence is told, in one sentence and in another."""


class Speaker:
    """One caption of one perception; ``random`` draws its words."""

    def __init__(self, voice: Voice, seen: Perception, random: Random) -> None:
        self.voice, self.seen, self.random = voice, seen, random
        self.picture = random.choice(PICTURES)

    def dense(self) -> str:
        """All objects and texts, then other facts until it is long enough, in the order of the voice."""
        needed = {"frame", "object", "line", "no text"}
        order = self.voice.order
        written = {kind: list(self._sentences(kind)) for kind in order}
        length, goal = 0, self.random.randint(*GOAL)
        told: dict[str, list[str]] = {kind: [] for kind in order}
        for kind in sorted(order, key=lambda kind: kind not in needed):
            for sentence in written[kind]:
                words = len(sentence.split())
                if length + words <= MOST_WORDS and (kind in needed or length < goal):
                    told[kind].append(sentence)
                    length += words
        return " ".join(sentence for sentences in told.values() for sentence in sentences)

    def short(self) -> str:
        """One sentence."""
        writing = f' and the text "{self.seen.words[0].text}"' if self.seen.words else ""
        return self._fill(SHORTS, things=self._things(4), back=self._back(), writing=writing)

    def subject(self) -> str:
        """What is largest, by its name."""
        return with_article(self.seen.largest or (self.seen.items[0].noun if self.seen.items else "background"))

    def region(self, part: Item | Words | str) -> str:
        """What is said of one part of the picture: an object, a line of text, or in so many words something else."""
        back = f"The background is {self._back()}."
        if isinstance(part, str):
            return f"{part} {back}"
        if isinstance(part, Words):
            return f"{self._line(part)} {back}"
        around = [self._relation(one) for one in self.seen.relations if part.noun in (one[0], one[2])][:2]
        noun = self._noun(part)
        return " ".join([f"{noun[:1].upper()}{noun[1:]}{self._details(part)}.", *self._where(part), *around, back])

    def _where(self, item: Item) -> Iterator[str]:
        if item.place:
            yield f"{'They lie' if is_plural(item.name) else 'It lies'} {self._pick(PLACES[item.place])} of the picture."

    def _sentences(self, kind: str) -> Iterator[str]:
        """All that can be said of a kind of fact."""
        seen = self.seen
        simple: dict[str, Callable[[], Iterator[str]]] = {
            "object": lambda: (self._object(item) for item in seen.items),
            "line": lambda: (self._line(words) for words in seen.words),
            "relation": lambda: (self._relation(one) for one in self.random.sample(seen.relations, min(4, len(seen.relations)))),
            "count": lambda: (self._say(kind, count=_number(n), plural=plural(noun)) for noun, n in list(seen.counts.items())[:3]),
            "empty": lambda: (self._say(kind, corner=corner) for corner in seen.empty),
            "absent": self._absent,
            "no text": lambda: iter([self._say(kind)] if seen.wordless and not seen.words else []),
            "frame": lambda: iter([self._say(kind, picture=self.picture, things=self._things(6), back=self._back())]),
            "total": lambda: iter([self._total()] if seen.total else []),
            "largest": lambda: iter([self._largest()] if seen.largest else []),
            "light": lambda: iter([self._say(kind, light=LIGHTS[seen.light])] if seen.light else []),
            "ratio": lambda: iter([self._say(kind, ratio=seen.ratio)] if seen.ratio else []),
            "format": lambda: iter([self._say(kind, format=FORMATS[seen.shape])] if seen.shape else []),
        }
        yield from simple[kind]()

    def _object(self, item: Item) -> str:
        return self._tell("object", item.place, a_noun=self._noun(item), details=self._details(item), **_verbs(item.name))

    def _line(self, words: Words) -> str:
        ink = words.ink or "coloured"
        return self._tell("line", words.place, text=words.text, ink=ink, font=words.font or "printed")

    def _tell(self, kind: str, place: str, **parts: str) -> str:
        """A sentence on a thing, with its place where that is known."""
        if not place:
            return self._fill(NOWHERE[kind], **parts)
        return self._fill(self.voice.templates[kind], place=self._pick(PLACES[place]), **parts)

    def _relation(self, relation: tuple[str, str, str]) -> str:
        one, kind, other = relation
        return self._fill(RELATIONS[kind], a=f"the {one}", b=f"the {other}", **_verbs(one))

    def _total(self) -> str:
        return self._say("total", count=_number(self.seen.total), items="item" if self.seen.total == 1 else "items")

    def _largest(self) -> str:
        return self._say("largest", the_noun=f"the {self.seen.largest}", **_verbs(self.seen.largest))

    def _absent(self) -> Iterator[str]:
        names = list(dict.fromkeys(self.seen.absent))
        some = self.random.sample(names, min(sum(ABSENT), len(names)))
        for part in (some[: ABSENT[0]], some[ABSENT[0] :]):
            if part:
                yield self._say("absent", names=listing([plural(name) for name in part]))

    def _things(self, most: int) -> str:
        """The objects by name and number, at most so many kinds, the largest first."""
        counted = Counter(item.noun for item in self.seen.items)
        if not counted:
            return "hardly anything"
        kinds = self.random.sample(list(counted), len(counted))
        kinds.sort(key=lambda noun: noun != self.seen.largest)
        named = [with_article(kind) if counted[kind] == 1 else f"{_number(counted[kind])} {plural(kind)}" for kind in kinds[:most]]
        return listing(named if len(kinds) <= most else [*named, "more"])

    def _noun(self, item: Item) -> str:
        size = "" if "size" in self.voice.silent or not item.size else self._pick(SIZES[item.size])
        return with_article(item.noun, size)

    def _details(self, item: Item) -> str:
        pose = "" if "pose" in self.voice.silent else POSES.get(item.pose, "")
        cover = "" if "cover" in self.voice.silent else COVERS.get(item.cover, "")
        return "".join(f", {extra}" for extra in (pose, cover) if extra)

    def _back(self) -> str:
        back: Backdrop = self.seen.backdrop
        start, end = ENDS.get(back.direction, ("", ""))
        parts = {"first": back.first, "second": back.second, "direction": back.direction, "start": start, "end": end}
        return re.sub(r"\ba (?=orange)", "an ", self._pick(BACKDROPS[back.texture]).format(**parts))

    def _pick(self, synonyms: tuple[str, ...]) -> str:
        """The favourite of the voice more often than the others."""
        favourite = synonyms[self.voice.favourite % len(synonyms)]
        return favourite if self.random.random() < FAVOURED else self.random.choice(synonyms)

    def _say(self, kind: str, **parts: str) -> str:
        return self._fill(self.voice.templates[kind], **parts)

    def _fill(self, templates: tuple[str, ...], **parts: str) -> str:
        """``{name}`` becomes the part, ``{Name}`` the part with a capital letter."""
        capitals = {name.capitalize(): part[:1].upper() + part[1:] for name, part in parts.items()}
        return self.random.choice(templates).format(**parts, **capitals)


def _verbs(name: str) -> dict[str, str]:
    many = is_plural(name)
    return {"be": "are" if many else "is", "s": "" if many else "s", "cover": "cover" if many else "covers"}


def _number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else str(count)
