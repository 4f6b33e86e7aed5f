"""What scenes can show: the names of all classes, in class-id order, and how English speaks of them.

``vocabulary.tsv`` holds one class a line: name, OpenMoji hexcode (``-`` for a procedural shape), group. A level takes the first n lines,
so class ids agree between levels. The names are those of the Unicode CLDR.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Thing(NamedTuple):
    """One class: its ``name``, the ``hexcode`` of its drawing (``-`` for a procedural shape) and the ``group`` it belongs to."""

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
_UNCOUNTED = ("bread", "popcorn", "broccoli", "garlic", "bacon", "spaghetti", "butter", "salt", "lipstick", "soap")
_SAME = ("fish", "sheep", "deer", "sushi", "squid", "shrimp", "moose", "bison")


@cache
def all_things() -> tuple[Thing, ...]:
    """Every class in class-id order."""
    lines = Path(__file__).with_name("vocabulary.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(Thing(*line.split("\t")) for line in lines)


def things(count: int, *, drawings: bool) -> tuple[Thing, ...]:
    """The first ``count`` classes; the procedural shapes alone where ``drawings`` are not at hand."""
    return tuple(thing for thing in all_things() if drawings or thing.is_shape)[:count]


@cache
def with_article(name: str) -> str:
    """``apple`` -> ``an apple``; names without singular stay as they are."""
    if name in _UNCOUNTED or (name.endswith("s") and not name.endswith(("ss", "us", "is"))):
        return name
    return f"an {name}" if name[0].lower() in "aeio" or name.startswith(("um", "up")) else f"a {name}"


@cache
def plural(name: str) -> str:
    """``tropical fish`` -> ``tropical fish``, ``cherry`` -> ``cherries``, ``flag of X`` -> ``flags of X``."""
    for joint in (" of ", " with ", " in ", " on ", " without ", " behind ", " showing ", " from "):
        head, found, tail = name.partition(joint)
        if found:
            return plural(head) + joint + tail
    if name.endswith(_SAME) or (name.endswith("s") and not name.endswith(("ss", "us", "is"))) or name in _UNCOUNTED:
        return name
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    return name[:-1] + "ies" if name.endswith("y") and name[-2] not in "aeiou" else name + "s"


def listing(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
