"""Phrases of a text by their characters: what a model says of them, put right where that can be done without a guess."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

Span = tuple[int, int]


class Found(NamedTuple):
    """Spans in their order, and how many were moved to the phrase's only other place, or left out."""

    spans: list[Span]
    moved: int
    dropped: int

    @property
    def detail(self) -> str:
        """For people; "" where nothing was changed."""
        told = [f"{count} spans {what}" for count, what in ((self.moved, "moved"), (self.dropped, "dropped")) if count]
        return ", ".join(told)


def spans_of(text: str, items: Iterable[Any]) -> Found:
    """The spans that a model gives as ``{"phrase": ..., "start": ..., "end": ...}``.

    One whose characters are the phrase is taken. Others are moved to where their phrase stands, if it has as many places that no
    right one takes as there are of them, and left out if it has more or fewer.
    """
    wanted, right, wrong = list(items), set[Span](), []
    for item in wanted:
        phrase, span = _phrase(item), _span(item)
        if phrase and span and text[span[0] : span[1]] == phrase:
            right.add(span)
        else:
            wrong.append(phrase)
    moved = dropped = 0
    for phrase, count in Counter(wrong).items():
        places = [place for place in _places(text, phrase) if place not in right]
        if len(places) == count:
            right.update(places)
            moved += count
        else:
            dropped += count
    return Found(sorted(right), moved, dropped)


def _phrase(item: Any) -> str:
    phrase = item.get("phrase") if isinstance(item, dict) else item
    return phrase.strip() if isinstance(phrase, str) else ""


def _span(item: Any) -> Span | None:
    start, end = (item.get("start"), item.get("end")) if isinstance(item, dict) else (None, None)
    return (start, end) if type(start) is type(end) is int and 0 <= start < end else None


def _places(text: str, phrase: str) -> list[Span]:
    """Where a phrase stands as whole words, as it is written or else in upper and lower case alike."""
    if not phrase:
        return []
    pattern = rf"(?<!\w){re.escape(phrase)}(?!\w)"
    return [each.span() for each in re.finditer(pattern, text)] or [
        each.span() for each in re.finditer(pattern, text, re.IGNORECASE)
    ]
