"""Where each value of a config comes from: a file and its line, an option, a rule of loading, or a default of a signature.

``finevit inspect`` alone pays for it: :class:`Traced` has :func:`~finevit.config.loading.load_config` tell of each step, and
compares the values before and after it.
"""

import ast
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import cache
from inspect import Parameter
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.runner import Runner

from finevit.config.bundled import FOLDER, PREFIX
from finevit.config.loading import load_config
from finevit.config.renamed import TABLE, rename_settings
from finevit.config.schema import IGNORED, READERS, arguments, slot_of
from finevit.config.text_settings import component_of
from finevit.signatures import argument

Name = tuple[str, ...]
"""The parts of a dotted name."""


class Layer(NamedTuple):
    """A config file and the values that stand in it, without those of its bases."""

    file: Path
    settings: dict[Name, Any]

    def has(self, name: str) -> bool:
        """Whether the file sets something of that dotted name, or below it."""
        return any(f"{'.'.join(each)}.".startswith(f"{name}.") for each in self.settings)


class Origin(NamedTuple):
    """What set a value, and what it was ``before`` that, with what had set it then."""

    place: str
    before: str = ""


class Row(NamedTuple):
    """A setting by its dotted name, with its value, as ``finevit inspect`` shows it."""

    name: str
    value: Any
    origin: Origin


class Traced:
    """A loaded config with the origin of every value, what options and rules dropped, and the rules that had an effect."""

    def __init__(self, path: str | Path, options: Mapping[str, Any]) -> None:
        self.dropped: list[Row] = []
        self.rules: dict[str, str] = {}
        self._origins: dict[Name, Origin] = {}
        self._values: dict[Name, Any] = {}
        with layers() as found:
            self.cfg = load_config(path, options, watch=lambda step, cfg: self._step(step, cfg, found))

    def rows(self) -> Iterator[Row]:
        """Every value in the order of the config; after those of a component the defaults of what it leaves out."""
        yield from self._rows((), self.cfg._cfg_dict)

    def _rows(self, name: Name, node: Any) -> Iterator[Row]:
        for key, child in _inside(node):
            inner = (*name, str(key))
            if _inside(child):
                yield from self._rows(inner, child)
            else:
                yield Row(".".join(inner), child, self._origins[inner])
        for key, value, whose in defaults(self.cfg, name, node) if isinstance(node, Mapping) else ():
            yield Row(".".join((*name, key)), value, Origin(f"default of {whose}"))

    def _step(self, step: str | Callable, cfg: Config, layers: list[Layer]) -> None:
        """Compares the config with what it was before a step of loading."""
        now = dict(leaves(cfg._cfg_dict))
        if not step:
            self._files(now, layers)
        elif isinstance(step, str):
            self._changed(now, "--cfg-options", also=tuple(step.split(".")))
        elif self._changed(now, f"rule {step.__name__}", renamed=step is rename_settings):
            self.rules[step.__name__] = (step.__doc__ or "").partition("\n")[0].replace("``", "")
        self._values = now

    def _files(self, now: Mapping[Name, Any], layers: list[Layer]) -> None:
        """Every file, after its bases; what MMEngine adds to them is the scope of another package's base."""
        for layer in layers:
            for name, value in layer.settings.items():
                merged = not any(part.isdecimal() for part in name)  # a list takes the place of another whole
                self._set(name, place_of(layer.file, name), value, name if merged else ())
            self._values |= layer.settings
        for name in now.keys() - self._origins.keys():
            self._origins[name] = Origin("MMEngine")

    def _changed(self, now: Mapping[Name, Any], place: str, *, also: Name = ("",), renamed: bool = False) -> bool:
        """Whether a step set or dropped something; what stands below ``also`` was set, even to what it had been."""
        gone = {name for name in self._values if name not in now and not name[0].startswith("_")}
        new = [name for name in now if self._values.get(name, now) != now[name] or name[: len(also)] == also]
        for name in new:
            old = _older(name, gone) if renamed else name
            gone -= {old}
            self._set(name, place, now[name], old)
        self.dropped += [Row(".".join(name), self._values[name], Origin(place, self._origins[name].place)) for name in sorted(gone)]
        return bool(new or gone)

    def _set(self, name: Name, place: str, value: Any, old: Name) -> None:
        before = self._origins.get(old)
        if before is None or (old == name and self._values[old] == value):
            told = ""
        else:
            told = f"{show(self._values[old]) if old == name else '.'.join(old)} of {before.place}"
        self._origins[name] = Origin(place, told)


def leaves(node: Any, name: Name = ()) -> Iterator[tuple[Name, Any]]:
    """Name and value of everything in a config that is no dict, or list of dicts, with something in it."""
    if items := _inside(node):
        for key, child in items:
            yield from leaves(child, (*name, str(key)))
    else:
        yield name, copy(node)  # which a rule may change in place


def _inside(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, Mapping):
        return list(node.items())
    return list(enumerate(node)) if isinstance(node, list | tuple) and any(isinstance(each, Mapping) for each in node) else []


def _older(name: Name, gone: Collection[Name]) -> Name:
    """The name that a renamed setting had, among those that are gone."""
    told = ".".join(name)
    return next((old for row in TABLE if (old := tuple(told.replace(row.new, row.old, 1).split("."))) in gone), ())


@contextmanager
def layers() -> Iterator[list[Layer]]:
    """The config files that MMEngine reads meanwhile, bases first: it merges each into what its bases say."""
    found: list[Layer] = []
    merge, reads = Config._merge_a_into_b, Config._file2dict.__code__

    def merged(a: dict, b: dict, allow_list_keys: bool = False) -> dict:
        caller = sys._getframe(1)
        if caller.f_code is reads:
            found.append(Layer(Path(caller.f_locals["filename"]), dict(leaves(a))))
        return merge(a, b, allow_list_keys)

    Config._merge_a_into_b = staticmethod(merged)
    try:
        yield found
    finally:
        Config._merge_a_into_b = staticmethod(merge)


def place_of(file: Path, name: Name) -> str:
    """File and line of a setting; a package's file as ``_base_`` would name it."""
    line = _line(file, name)
    told = str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)
    package, installed, within = str(file).rpartition("/.mim/configs/")
    if installed:
        told = f"{Path(package).name}::{within}"
    elif told == str(file) and file.is_relative_to(FOLDER):
        told = f"{PREFIX}{file.relative_to(FOLDER)}"
    return f"{told}:{line}" if line else told


def _line(file: Path, name: Name) -> int:
    """The line of a setting in a config file; of one that is computed, that of the nearest setting around it."""
    said = [node for node in _parsed(file).body if isinstance(node, ast.Assign) and _assigns(node, name[0])]
    if not said:
        return 0
    node: ast.expr | None = said[-1].value
    line = said[-1].lineno
    for part in name[1:]:
        node, line = _child(node, part, line)
    return line


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8") if file.suffix == ".py" else "")


def _assigns(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _child(node: ast.expr | None, part: str, line: int) -> tuple[ast.expr | None, int]:
    """An item of a dict or list, and its line; None where it is not written there, and the line of what is around it."""
    match node:
        case ast.Call(func=ast.Name(id="dict"), keywords=keywords):
            found = [(keyword.value, keyword.lineno) for keyword in keywords if keyword.arg == part]
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            found = [(value, key.lineno) for key, value in pairs if isinstance(key, ast.Constant) and str(key.value) == part]
        case ast.List(elts=items) | ast.Tuple(elts=items) if not any(isinstance(item, ast.Starred) for item in items):
            found = [(item, item.lineno) for item in items[int(part) : int(part) + 1]]
        case _:
            found = []
    return found[-1] if found else (None, line)


def show(value: Any, most: float = 60) -> str:
    """A value in one line, shortened to so many characters."""
    told = getattr(value, "__qualname__", " ".join(repr(value).split()))
    return told if len(told) <= most else f"{told[:57]}..."


def defaults(cfg: Config, name: Name, node: Mapping) -> Iterator[tuple[str, Any, str]]:
    """Arguments that a part of a config leaves out: name, default, and whose it is."""
    component = READERS.get(".".join(name)) or component_of(cfg, list(name), node) if name else Runner
    if component is None or IGNORED & {*name}:
        return
    slot = slot_of(next(part for part in reversed(name) if not part.isdecimal()), dict(node)) if name else None
    for key in sorted(arguments(component).names - {*node, *(slot.given if slot else ("cfg",))}):
        said = argument(component, key)
        if said is not None and said.default is not Parameter.empty:
            yield key, said.default, component.__qualname__.removesuffix(".__init__")
