"""Fields of entries that people and programs wrote: of the type that a reader needs, or ``Odd`` says what is there instead."""

from collections.abc import Mapping
from types import NoneType
from typing import Any, TypeVar

Kind = TypeVar("Kind")

_SHOWN = 60  # characters of a wrong value
_NAMES: dict[type, str] = {
    NoneType: "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}
"""What JSON calls the types of Python."""


class Odd(ValueError):
    """An entry that is not what it should be: the message begins with ``it`` or ``its``; ``fixed.expecting`` says of which file."""


def field(entry: object, name: str, kind: type[Kind], default: Kind | None = None) -> Kind:
    """A field of an entry; ``default``, where there is one, for one that is absent or null."""
    found = mapping(entry, name).get(name)
    if found is None and default is not None:
        return default
    if found is None:
        raise Odd(f"it has no {name!r}")
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise Odd(f"its {name!r} is {shown(found)}, not {_NAMES[kind]}")
    return found


def value(entry: object, name: str) -> Any:
    """A field of an entry, whatever it holds."""
    if name not in mapping(entry, name):
        raise Odd(f"it has no {name!r}")
    return mapping(entry, name)[name]


def path_of(entry: object, name: str) -> str:
    """What a field of an entry says of its image, if that is a path; else ``ValueError``."""
    image = value(entry, name)
    if not isinstance(image, str) or not image:
        raise ValueError(f"image is {short(image)}, no path")
    return image


def identity(entry: object, name: str) -> str:
    """An id of an entry: a number or a text; see ``key_of``."""
    found = value(entry, name)
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise Odd(f"its {name!r} is {shown(found)}, not a number or a text")
    return key_of(found)


def key_of(found: object) -> str:
    """Ids agree whether they are written as numbers, as 7.0 by tables, or as text."""
    return found if isinstance(found, str) else short(int(found) if isinstance(found, float) and found.is_integer() else found)


def mapping(entry: object, name: str) -> Mapping[str, Any]:
    """An entry that is an object; ``name`` is the field that is looked for in it."""
    if not isinstance(entry, Mapping):
        raise Odd(f"it is {shown(entry)}, not an object with {name!r}")
    return entry


def shown(found: object) -> str:
    """What was found in place of another type, for people."""
    named = _NAMES.get(type(found), f"a {type(found).__name__}")
    return named if found is None else f"{named}, {short(found)}"


def short(found: object) -> str:
    """The beginning of what a value says."""
    try:
        said = repr(found)
    except (ValueError, RecursionError):  # numbers of more digits than Python writes, lists in lists in lists
        return "too large to show"
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]}..."
