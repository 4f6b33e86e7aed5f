"""Values of settings against what signatures say: a component where a dict belongs, and each argument of its annotated type."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from finevit.config.schema import PLAIN, SLOTS
from finevit.config.text_settings import TEXT, parameter

LISTED = ("transforms", "param_scheduler", "custom_hooks", "vis_backends", "metrics", "val_evaluator", "test_evaluator")
"""Settings that hold one component or several."""
SERIES = (list, tuple, set, frozenset, Sequence, Iterable)
MOST = 10**12
"""No count, size or step of a config is as large."""


def misshapen(cfg: Mapping[str, Any]) -> list[str]:
    """One line for each setting that holds something else than the dict, or the list of dicts, that belongs there."""
    errors = [f"{path}={value!r}: give a dict with a type" for path, key, value in _held(cfg) if not _shaped(path, key, value)]
    plain = [(path, _at(cfg, path)) for path in PLAIN]
    return errors + [f"{path}={value!r}: give a dict of settings" for path, value in plain if not isinstance(value, dict | None)]


def _held(node: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Path, name and value of every setting that is known to hold components."""
    for name, value in node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ():
        where = f"{path}.{name}" if path else str(name)
        if name in SLOTS and not (SLOTS[name].plain and path):
            listed = list(enumerate(value)) if isinstance(value, list | tuple) and name in LISTED else []
            items = list(value.items()) if isinstance(value, dict) and SLOTS[name].many else listed
            yield from [(f"{where}.{index}", str(name), item) for index, item in items if not isinstance(item, dict)]
            yield where, str(name), value
        if not (isinstance(value, dict) and "." in str(value.get("type", "")).removeprefix("finevit.")):  # another package's ways
            yield from _held(value, where)


def _shaped(path: str, key: str, value: Any) -> bool:
    if isinstance(value, list | tuple) and key in LISTED and path.endswith(key):
        return True
    return (
        isinstance(value, dict)
        or (value is None and not path[-1:].isdecimal())
        or (callable(value) and not isinstance(value, type))
    )


def _at(node: Any, path: str) -> Any:
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def wrong_values(path: str, values: Mapping[str, Any], component: Callable) -> list[str]:
    """One line for each argument that is not what the signature of its component says."""
    errors = []
    for name, value in values.items():
        said = None if name in SLOTS else parameter(component, str(name))
        if said is None or (value is None and said[1] is None):
            continue
        annotation = _of_default(said[1]) if said[0] is None else said[0]
        if not fits(value, annotation):
            errors.append(f"{path}.{name}={value!r}: give {words(annotation)}")
    return errors


def _of_default(default: Any) -> Any:
    """What an argument without annotation takes, where its default is a number or a switch."""
    return {bool: bool, int: float, float: float}.get(type(default), Any)


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value of a config is what an annotation says; what configs cannot hold fits."""
    origin, inside = get_origin(annotation) or annotation, get_args(annotation)
    if origin in (Union, UnionType):
        return any(fits(value, member) for member in inside)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in inside)
    if origin in (None, NoneType):
        return value is None
    if origin in (int, float):
        return _number(value, origin)
    if origin is bool:
        return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))
    if origin in TEXT:
        return isinstance(value, str)
    if origin in SERIES:
        return isinstance(value, list | tuple) and _fit(value, origin, inside)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(fits(item, inside[1]) for item in value.values() if inside)
    return True


def _number(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    return not math.isnan(value) and (abs(value) <= MOST or math.isinf(value))


def _fit(values: Sequence, origin: Any, inside: tuple) -> bool:
    """The items of a list or, one by one, of a tuple."""
    if origin is tuple and inside and inside[-1] is not ...:
        return len(values) == len(inside) and all(fits(value, said) for value, said in zip(values, inside, strict=True))
    return all(fits(value, inside[0]) for value in values if inside)


def words(annotation: Any) -> str:
    """An annotation for people."""
    named = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", NoneType: "None", None: "None"}
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(words(member) for member in inside))
    if origin is Literal:
        return " or ".join(repr(choice) for choice in inside)
    if origin in SERIES and inside:
        between = ", " if origin is tuple else " or "
        return f"a list of ({between.join(words(member) for member in inside if member is not ...)})"
    return named.get(annotation) or (annotation.__name__ if inspect.isclass(annotation) else str(annotation).replace("typing.", ""))
