"""Find the installed plugins, ask each for its contributions, check them, and register them.

A plugin is an object (usually a module) with functions marked ``@finevit.plugins.hookimpl``, named by an entry point
of the group ``finevit``. Nothing is registered unless every plugin is sound, so a failed load leaves the registries as
they were.
"""

import os
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract, isclass
from itertools import pairwise
from typing import NamedTuple

import pluggy

from finevit.plugins.hookspecs import KINDS, Kind, specifications
from finevit.registry import owner
from finevit.suggest import did_you_mean


class PluginError(ValueError):
    """A plugin is broken or clashes with another: the message names the distribution, its version and the way out."""


class Contribution(NamedTuple):
    """A class that configs reach as ``name``, and the distribution and version that bring it."""

    name: str
    component: type
    kind: Kind
    origin: str


def collect(manager: pluggy.PluginManager, plugin: object, origin: str) -> list[Contribution]:
    """What a registered ``plugin`` contributes.

    Raises ``PluginError`` for an unknown hook or a class that breaks its contract.
    """
    found = []
    for hook in manager.get_hookcallers(plugin) or []:
        if not hook.has_spec():
            raise PluginError(f"hook {hook.name!r} does not exist{did_you_mean(hook.name, KINDS)}; there are {', '.join(KINDS)}")
        kind = KINDS[hook.name]
        for implementation in hook.get_hookimpls():
            if implementation.plugin is plugin:
                classes = _checked(hook.name, kind, implementation.function())
                found += [Contribution(name, component, kind, origin) for name, component in classes.items()]
    return found


def _checked(hook: str, kind: Kind, classes: object) -> Mapping[str, type]:
    """``classes``, which must map names to complete subclasses of the kind's contract."""
    if not isinstance(classes, Mapping):
        raise PluginError(f"hook {hook!r} must return a mapping from name to class, not {type(classes).__name__}")
    for name, component in classes.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise PluginError(f"hook {hook!r} contributes the name {name!r}, which is not a Python identifier")
        if not isclass(component) or not issubclass(component, kind.contract):
            contract = f"{kind.contract.__module__}.{kind.contract.__qualname__}"
            raise PluginError(f"{kind.name} {name!r} is {component!r}, not a subclass of {contract}")
        if isabstract(component):
            missing = ", ".join(sorted(vars(component)["__abstractmethods__"]))
            raise PluginError(f"{kind.name} {name!r} ({component.__qualname__}) lacks {missing}")
    return classes


def check_names(contributions: Iterable[Contribution], remedy: str) -> None:
    """Raise ``PluginError`` if two packages claim a name, or one shadows a component of FineViT or MMEngine."""
    items = list(contributions)
    first: dict[tuple[str, str], Contribution] = {}
    for item in items:
        other = first.setdefault((item.kind.registry.name, item.name), item)
        if other is not item:
            raise _clash(item, other.origin, remedy)
    for item in items:
        if taken := owner(item.kind.registry, item.name, item.component):
            raise _clash(item, taken, remedy)


def _clash(item: Contribution, other: str, remedy: str) -> PluginError:
    return PluginError(f"the name {item.name!r} of a {item.kind.name} is claimed by {item.origin} and by {other}; {remedy}")


GROUP = "finevit"
BLOCK = "FINEVIT_BLOCK_PLUGINS"


class Plugin(NamedTuple):
    """A loaded plugin: the ``name`` of its entry point, the ``distribution`` and ``version`` that brought it, and what
    it ``contributes``: names by kind, such as ``{'teacher': ['RandomTeacher']}``."""

    name: str
    distribution: str
    version: str
    contributes: dict[str, list[str]]


def load_plugins() -> pluggy.PluginManager:
    """Load every installed plugin and register what they contribute. Calling it again changes nothing.

    ``FINEVIT_BLOCK_PLUGINS=name,name`` leaves plugins out. Raises ``PluginError`` for a plugin that does not import, a
    contribution that breaks its contract, a name that two packages claim or that is taken already, and a blocked name
    that is not installed.
    """
    return _load()[0]


def loaded_plugins() -> tuple[Plugin, ...]:
    """The plugins in the order of their names, loaded first where ``load_plugins`` has not been called."""
    return _load()[1]


@cache
def _load() -> tuple[pluggy.PluginManager, tuple[Plugin, ...]]:
    entries = _wanted(sorted(entry_points(group=GROUP), key=lambda entry: entry.name))
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(specifications())
    by_plugin = [_contributions(manager, entry) for entry in entries]
    everything = [item for items in by_plugin for item in items]
    check_names(
        everything,
        f"rename one, uninstall one, or leave one out with {BLOCK}=NAME ({', '.join(e.name for e in entries)})",
    )
    for item in everything:
        item.kind.registry.register_module(name=item.name, module=item.component, force=True)
    return manager, tuple(map(_describe, entries, by_plugin))


def _wanted(entries: list[EntryPoint]) -> list[EntryPoint]:
    """The entries without the blocked ones, each with a name of its own."""
    names = [entry.name for entry in entries]
    blocked = [name.strip() for name in os.environ.get(BLOCK, "").split(",") if name.strip()]
    for name in blocked:
        if name not in names:
            hint = did_you_mean(name, names)
            raise PluginError(f"{BLOCK}: no plugin named {name!r} is installed{hint}; installed: {', '.join(names)}")
    wanted = [entry for entry in entries if entry.name not in blocked]
    for first, second in pairwise(wanted):
        if first.name == second.name:
            raise PluginError(
                f"the plugin name {first.name!r} is claimed by {_origin(first)} and by {_origin(second)}; "
                f"uninstall one of them, or leave out both with {BLOCK}={first.name}"
            )
    return wanted


def _contributions(manager: pluggy.PluginManager, entry: EntryPoint) -> list[Contribution]:
    """Import the plugin and ask it; whatever goes wrong there is reported as the plugin's fault."""
    try:
        plugin = entry.load()
        manager.register(plugin, name=entry.name)
        return collect(manager, plugin, _origin(entry))
    except Exception as error:
        fault = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        way_out = f"repair it, uninstall it, or leave it out with {BLOCK}={entry.name}"
        raise PluginError(f"plugin {entry.name!r} of {_origin(entry)}: {fault}; {way_out}") from error


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _describe(entry: EntryPoint, contributions: list[Contribution]) -> Plugin:
    contributes: dict[str, list[str]] = {}
    for item in contributions:
        contributes.setdefault(item.kind.name, []).append(item.name)
    distribution, version = (entry.dist.name, entry.dist.version) if entry.dist else (entry.value, "")
    return Plugin(entry.name, distribution, version, contributes)
