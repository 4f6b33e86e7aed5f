"""Which values the arguments of a component may have: what its signature says, in a config and where it is built.

``Annotated[float, Ge(0), Le(1)]``, ``PositiveInt`` and the like, of annotated-types and pydantic. Numbers, texts and switches are
taken strictly: no bool is an int, no text a number, NaN is none, and a range ends before infinity unless it says ``Le(inf)``. Any
list is a series, and what else is annotated, such as another component, is taken as it is. A text among the annotations is what
errors call the value.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, reduce, wraps
from operator import or_
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, Predicate
from pydantic import AllowInfNan, InstanceOf, Strict, StrictBool, StrictStr, TypeAdapter

Fraction = Annotated[float, Ge(0), Le(1)]

MOST = 10**12
"""No count, size or step of a config is as large."""
SERIES = (list, tuple, set, frozenset, Sequence)
LEAVES: dict[Any, Any] = {
    bool: StrictBool,
    int: Annotated[int, Strict(), Ge(-MOST), Le(MOST)],
    float: Annotated[float, Strict(), Predicate(lambda value: abs(value) <= MOST or math.isinf(value))],
    str: StrictStr,
    **dict.fromkeys((Path, PathLike), StrictStr | InstanceOf[PathLike]),
    **dict.fromkeys((None, NoneType), None),
}
ENDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most", "multiple_of": "a multiple of"}
WORDS: dict[Any, str] = {
    **{int: "a whole number", float: "a number", bool: "True or False", str: "a text"},
    **dict.fromkeys((dict, Mapping), "a dict"),
    **dict.fromkeys((None, NoneType), "None"),
}


def enforce(cls: type) -> None:
    """Make the constructor of a class, and of those that inherit it, refuse what its signature does not allow."""
    init = cls.__init__  # type: ignore[misc]
    if init is object.__init__ or is_enforced(cls):
        return
    names = list(inspect.signature(init).parameters)[1:]

    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        if errors := wrong_values(type(self).__name__, dict(zip(names, args, strict=False)) | kwargs, cls):
            raise ValueError("; ".join(errors))
        init(self, *args, **kwargs)

    checked.enforced = True  # type: ignore[attr-defined]
    cls.__init__ = checked  # type: ignore[misc]


def is_enforced(component: Any) -> bool:
    """Whether the constructor of a component takes what its signature says alone."""
    return getattr(getattr(component, "__init__", None), "enforced", False)


def wrong_values(path: str, values: Mapping[str, Any], component: Callable) -> list[str]:
    """One line for each argument of a component that is not what its signature says."""
    said = [(name, value, argument(component, str(name))) for name, value in values.items()]
    given = [(name, value, each.annotation) for name, value, each in said if each and value is not each.default]
    return [line for name, value, annotation in given for line in wrong_value(f"{path}.{name}", value, annotation)]


def wrong_value(path: str, value: Any, annotation: Any) -> list[str]:
    """A line for a value that is not what the annotation says, or for each such item of a list or dict."""
    if _validator(annotation).isinstance_python(value):
        return []
    inside = [line for name, item, said in _items(value, annotation) for line in wrong_value(f"{path}.{name}", item, said)]
    return inside or [f"{path}={value!r}: give {words(annotation)}"]


@cache
def argument(component: Callable, name: str) -> inspect.Parameter | None:
    """What the signature of a class or function, or of a base class, says of an argument; None where none has it."""
    classes = component.__mro__ if inspect.isclass(component) else ()
    for function in [cls.__init__ for cls in classes if "__init__" in vars(cls)] or [component]:  # type: ignore[misc]
        found = inspect.signature(function).parameters.get(name)
        if found is not None and found.kind not in (found.VAR_KEYWORD, found.VAR_POSITIONAL):
            plain = {bool: bool, int: float, float: float, str: str}.get(type(found.default), found.empty)
            said = _hints(function).get(name, plain) if isinstance(found.annotation, str) else found.annotation
            return found.replace(annotation=plain if said is found.empty else said)
    return None


def _hints(function: Callable) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # names that are imported for type checkers alone
        return {}


@cache
def _validator(annotation: Any) -> Any:
    return TypeAdapter(_strict(annotation)).validator


def _strict(annotation: Any) -> Any:
    """An annotation as pydantic is to read it."""
    origin, inside = get_origin(annotation) or annotation, get_args(annotation)
    if origin is Annotated:
        said = inside[1:] + (_open_ends(_limits(inside[1:])) if inside[0] is float else ())
        return Annotated[_strict(inside[0]), *said]
    if origin in (Union, UnionType):
        return reduce(or_, map(_strict, inside))
    if origin is Literal:
        return annotation
    if origin is tuple and inside and inside[-1] is not ...:
        return tuple[*map(_strict, inside)]  # type: ignore[misc]
    if origin in SERIES:
        return list[_strict(inside[0]) if inside else Any]  # type: ignore[misc]
    if origin in (dict, Mapping):
        return Mapping[Any, _strict(inside[1]) if inside else Any]  # type: ignore[misc]
    return LEAVES.get(origin, Any)


def _open_ends(limits: Mapping[str, Any]) -> tuple:
    """A range without an end ends before infinity."""
    ends = ((Gt(-math.inf), {"gt", "ge"}), (Lt(math.inf), {"lt", "le"}))
    return tuple(end for end, names in ends if limits and not names & limits.keys())


def _limits(said: tuple) -> dict[str, Any]:
    return {name: value for each in said for name in ENDS if (value := getattr(each, name, None)) is not None}


def _items(value: Any, annotation: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Name and annotation of each item of a list or dict, of which an annotation says something."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        for member in inside:
            yield from _items(value, member)
    elif origin in (dict, Mapping) and isinstance(value, Mapping):
        yield from ((name, item, inside[1]) for name, item in value.items())
    elif origin in SERIES and isinstance(value, list | tuple):
        single = origin is not tuple or inside[-1] is ...
        if single or len(inside) == len(value):
            yield from zip(range(len(value)), value, inside[:1] * len(value) if single else inside, strict=True)


def words(annotation: Any) -> str:
    """An annotation for people."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _ranged(inside[0], inside[1:])
    if origin in (Union, UnionType):
        said = list(dict.fromkeys(map(words, inside)))
        return (", or " if any(", " in each or " or " in each for each in said) else " or ").join(said)
    if origin is Literal:
        return " or ".join(map(repr, inside)) if len(inside) < 3 else f"one of {', '.join(map(str, inside))}"
    if origin in SERIES:
        between = ", " if origin is tuple else " or "
        return f"a list of ({between.join(words(member) for member in inside if member is not ...)})"
    known = WORDS.get(origin or annotation)
    return known or (annotation.__name__ if inspect.isclass(annotation) else str(annotation).replace("typing.", ""))


def _ranged(kind: Any, said: tuple) -> str:
    """A number, or what a text calls it, and its range."""
    limits, noun = _limits(said), next((each for each in said if isinstance(each, str)), "")
    if kind is int and "gt" in limits:
        limits["ge"] = limits.pop("gt") + 1
    finite = any(isinstance(each, AllowInfNan) for each in said) or (kind is float and limits.keys() == {"ge"})
    ends = [f"{word} {limits[name]:,}".removesuffix(".0") for name, word in ENDS.items() if limits.get(name, math.inf) != math.inf]
    if "ge" in limits and limits.keys() & {"le", "lt"}:
        ends[:2] = [f"from {limits['ge']:,} to {ends[1].removeprefix('at most ')}"]
    joined = " " if not noun and ends and ends[0].startswith(("from", "above")) else ", "
    return joined.join([noun or ("a finite number" if finite else words(kind)), *[", ".join(ends)] * bool(ends)])
