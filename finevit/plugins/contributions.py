"""Ask a plugin what it contributes, and check that against the contracts and the names that are taken already."""

from collections.abc import Iterable, Mapping
from inspect import isabstract, isclass
from typing import NamedTuple

import pluggy

from finevit.plugins.hookspecs import KINDS, Kind
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
