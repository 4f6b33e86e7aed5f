"""Find the installed plugins, ask each for its contributions, check them, and register them.

A plugin is an object (usually a module) with functions marked ``@finevit.plugins.hookimpl``, named by an entry point
of the group ``finevit``. Nothing is registered unless every plugin is sound, so a failed load leaves the registries as
they were.
"""

import os
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from typing import NamedTuple

import pluggy

from finevit.plugins.contributions import Contribution, PluginError, check_names, collect
from finevit.plugins.hookspecs import specifications
from finevit.suggest import did_you_mean

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
