"""Which settings take text, by the signatures of what a config names: what people type for these is not evaluated."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mmengine.config import Config
from mmengine.runner import Runner

from finevit.config.dotted import at
from finevit.config.options import PATHS, text_of, value_of
from finevit.config.schema import ROOTS, registered, scoped, slot_of
from finevit.signatures import argument

TEXT = (str, Path, PathLike)
SERIES = (list, tuple, Sequence, Iterable)
VALUES = (int, float, bool, complex, object, Any)
"""What a typed value may be read as, beside text; anything else, such as a dict, nobody can type."""


def reader(cfg: Config, name: str) -> Callable[[str], Any]:
    """What reads a text typed for the setting ``name`` of a config.

    A setting that takes a text takes it as it is: a ``type``, one of ``PATHS``, an argument that is annotated as text or has a
    text as its default; where no signature says anything, what holds a text now. Brackets and commas of several texts are read.
    """
    *parents, key = name.split(".")
    holder = at(cfg, parents)
    if key == "type" or key in PATHS:
        return text_of
    component = Runner if holder is cfg else component_of(cfg, parents, holder)
    said = argument(component, key) if component else None
    kinds = set(_kinds(said.annotation)) if said else set()
    if kinds == {"text"} or (not kinds and isinstance(at(holder, [key]), str)):
        return text_of
    return partial(value_of, single=text_of) if kinds and kinds <= {"text", "texts"} else value_of


def component_of(cfg: Config, path: list[str], holder: Any) -> Callable | None:
    """The class or function that a part of a config becomes."""
    if not isinstance(holder, dict):
        return None
    place = next((part for part in reversed(path) if not part.isdecimal()), "")
    slot = slot_of("schedules" if "schedules" in path else place, holder)
    kind, scope = holder.get("type") or (slot.default if slot else ""), cfg.get("default_scope") or "mmengine"
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    registries = [scoped(registry, scope) for registry in ((slot.registry,) if slot else ROOTS)]
    return next((found for registry in registries if kind and (found := registered(registry, kind))), None)


def _kinds(annotation: Any) -> Iterator[str]:
    """``text``, ``texts`` or ``values`` for what an annotation lets people type."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        yield from ("text" if isinstance(value, str) else "values" for value in inside if value is not None)
    elif origin in (Annotated, Union, UnionType):
        for member in inside[:1] if origin is Annotated else inside:
            yield from _kinds(member)
    elif annotation in TEXT or origin in TEXT:
        yield "text"
    elif origin in SERIES:
        within = {kind for member in inside if member is not ... for kind in _kinds(member)}
        yield "texts" if within == {"text"} else "values"
    elif annotation in (*VALUES, *SERIES):
        yield "values"
