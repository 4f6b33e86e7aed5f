"""The noun phrases of a text, with their spans: classes of the scenes, with size and colour, and what is quoted."""

import re
from collections.abc import Iterable
from functools import cache

from finevit.scenes.backgrounds import COLOURS
from finevit.scenes.stand_in.wording import SIZES
from finevit.scenes.vocabulary import all_things, plural


def spans(text: str, more: Iterable[str] = ()) -> list[tuple[int, int]]:
    """Begin and end in characters of each phrase, sorted, without overlap; ``more`` are further names."""
    return [found.span("phrase") for found in _pattern(tuple(more)).finditer(text)]


@cache
def _pattern(more: tuple[str, ...]) -> re.Pattern[str]:
    names = {thing.name for thing in all_things()} | set(more)
    forms = _either(names | {plural(name) for name in names})
    before = _either({*COLOURS, *SIZES, *(word for words in SIZES.values() for word in words)})
    return re.compile(rf'(?P<phrase>(?<!\w)(?:(?:{before}) )*(?:{forms})(?!\w)|"[^"]+"|“[^”]+”)', re.IGNORECASE)


def _either(words: set[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=lambda word: (-len(word), word))))
