"""What scenes can show: the names of all classes, in class-id order, and how English speaks of them.

``vocabulary.tsv`` holds one class a line: name, OpenMoji hexcode (``-`` for a procedural shape), group. A level takes
the first n lines, so class ids agree between levels. The names are those of the Unicode CLDR.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Thing(NamedTuple):
    """One class: its ``name``, the ``hexcode`` of its drawing (``-`` for a procedural shape) and the ``group`` it
    belongs to."""

    name: str
    hexcode: str
    group: str

    @property
    def is_shape(self) -> bool:
        """Whether it is a procedural shape, which can have any colour."""
        return self.hexcode == "-"

    @property
    def mirrors(self) -> bool:
        """Whether its mirror image is as good an example of the class."""
        return self.group in ("shape", "nature", "food", "face") or self.name in _MIRRORS


_MIRRORS = ("automobile", "rocket", "house", "umbrella", "soccer ball")
_UNCOUNTED = ("bread", "popcorn", "broccoli", "garlic", "bacon", "spaghetti", "sushi", "rice", " ice", "money", "coral")
_SAME = ("fish", "sheep", "deer", "squid", "shrimp", "moose", "bison")
_IRREGULAR = (
    {"mouse": "mice", "goose": "geese", "ox": "oxen", "tooth": "teeth", "man": "men", "person": "people", "die": "dice"}
    | {"leaf": "leaves", "sheaf": "sheaves", "wolf": "wolves", "elf": "elves", "knife": "knives", "scarf": "scarves"}
    | {name: f"{name}es" for name in ("potato", "tomato", "mango", "volcano", "tornado")}
)
_JOINTS = (" of ", " with ", " in ", " on ", " without ", " behind ", " showing ")
_VOWELS = re.compile(r"(?!one\b)[aeio]|um|up|unl|una|hour", re.IGNORECASE)


@cache
def all_things() -> tuple[Thing, ...]:
    """Every class in class-id order."""
    lines = Path(__file__).with_name("vocabulary.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(Thing(*line.split("\t")) for line in lines)


def things(count: int, *, drawings: bool) -> tuple[Thing, ...]:
    """The first ``count`` classes; the procedural shapes alone where ``drawings`` are not at hand."""
    return tuple(thing for thing in all_things() if drawings or thing.is_shape)[:count]


def _split(name: str) -> tuple[str, str]:
    """The part of a name that takes the plural, and the rest: ``face``, `` with tongue``."""
    if name.startswith("face "):
        return "face", name[4:]
    cut = min((at for joint in _JOINTS if (at := name.find(joint)) >= 0), default=len(name))
    return name[:cut], name[cut:]


@cache
def is_plural(name: str) -> bool:
    """Whether a class's name is a plural: ``grapes``, ``jeans``."""
    head, _ = _split(name)
    return head.endswith("s") and not head.endswith(("ss", "us", "is"))


@cache
def with_article(name: str, size: str = "") -> str:
    """``apple`` -> ``an apple``, or ``a small apple``; names without singular get no article."""
    words = f"{size} {name}" if size else name
    if _split(name)[0].endswith(_UNCOUNTED) or is_plural(name):
        return words
    return f"an {words}" if _VOWELS.match(words) else f"a {words}"


@cache
def plural(name: str) -> str:
    """``tropical fish`` -> ``tropical fish``, ``cherry`` -> ``cherries``, ``flag of X`` -> ``flags of X``."""
    head, rest = _split(name)
    if head.endswith((*_SAME, *_UNCOUNTED)) or is_plural(name):
        return name
    for one, many in _IRREGULAR.items():
        if re.search(rf"(\b|snow|mer){one}$", head):
            return head[: -len(one)] + many + rest
    if head.endswith(("s", "x", "ch", "sh")):
        return head + "es" + rest
    ending = head[:-1] + "ies" if head.endswith("y") and head[-2] not in "aeiou" else head + "s"
    return ending + rest


def listing(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
