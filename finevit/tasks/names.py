"""Names of regions: when two are the same, when one may mean the other, and which boxes are asked for by a name."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from finevit.boxes import Box, fault_of_box

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


def located(
    task: str, names: Sequence[str], pool: Sequence[Name], *, answer_all: bool, dropped: Counter[str]
) -> Iterator[tuple[str, tuple[Box, ...]]]:
    """What is asked for and its boxes; each name once, however it is spelt, and none that fits what it does not mean."""
    spelt = {words(name): name for name in reversed(names)}
    for said in dict.fromkeys(filter(None, map(words, names))):
        near = [name for name in pool if fits(said, name.words)]
        boxes = tuple(dict.fromkeys(name.box for name in near if not name.caption or name.words == said))
        alike = {name.exact for name in near if name.words == said}
        if any(fault_of_box(name.box) for name in near):
            dropped[f"{task} of an impossible box"] += 1
        elif {name.box for name in near} == set(boxes) and (len(boxes) == 1 or (answer_all and len(alike) == 1)):
            yield spelt[said], boxes
        else:
            dropped[f"ambiguous {task}"] += 1


def words(text: str) -> str:
    """The words of a text in lower case, one space between: names that have the same are the same.

    Letters count as the same in each of Unicode's forms. Of scripts that put no space between words each sign is one.
    """
    found = plain(text)
    if not found.isascii():
        found = "".join(char if char.isalnum() or unicodedata.category(char)[0] == "M" else " " for char in found)
        found = _UNSPACED.sub(r" \g<0> ", found)
        return " ".join(found.split())
    return " ".join(_WORD.findall(found))


def plain(text: str) -> str:
    """The text in lower case and in one of Unicode's forms."""
    return unicodedata.normalize("NFKC", text).casefold()


def fits(said: str, other: str) -> bool:
    """Whether what is called ``other`` may be meant by ``said``, both as :func:`words`: "house" fits "red house"."""
    return f" {said} " in f" {other} "
