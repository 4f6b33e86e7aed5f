"""Check a whole config before anything is built from it: every key, every ``type``, every argument, every path.

All mistakes are listed together, each with the dotted name of the setting, its value and the nearest valid name. Inside
components of packages with other conventions (``mmdet.X``), only what is certain is reported.
"""

import inspect
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from mmengine import registry as root
from mmengine.config import Config
from mmengine.registry import Registry
from torch import nn

from finevit.config.dotted import settings
from finevit.config.options import INPUTS, ConfigError
from finevit.config.own_data import SETTINGS, roots
from finevit.config.ranges import unfit_schedules, unpackable, wrong_foreign, wrong_schedules
from finevit.config.rules import untold_tokenizers
from finevit.config.schema import (
    IGNORED,
    PLAIN,
    READERS,
    RECAPTIONING,
    RESERVED,
    ROOTS,
    SLOTS,
    TOP_LEVEL,
    Slot,
    arguments,
    registered,
    scoped,
    slot_of,
)
from finevit.registry import REGISTRIES, kind_of
from finevit.signatures import is_enforced, wrong_values
from finevit.suggest import did_you_mean, missing

STRICT = ("finevit", "finevit_plugins", "mmengine", "torch")
"""Packages whose components take nothing but their arguments, and hand none on that a config does not show."""
DEFAULT_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
TOGETHER = (("train_dataloader", "train_cfg", "optim_wrapper"), ("val_dataloader", "val_cfg", "val_evaluator"))
VARIABLE = "; a variable of the config file itself begins with an underscore: rename it to _{}"
OUTPUTS = ("dir", "out", "save", "cache", "fix")


def check_config(cfg: Config, *, unused: Collection[str] = ()) -> None:
    """Raise ``ConfigError`` with every mistake of a config.

    Paths below the settings that are ``unused``, of which nothing will be built, need not be there.
    Call it after ``load_plugins``, so that the names of plugins are known.
    """
    checker = _Checker(cfg.get("default_scope") or "mmengine", unused)
    checker.whole(cfg.to_dict())
    checker.errors += untold_tokenizers(cfg)
    if checker.errors:
        raise ConfigError("\n  ".join(["the config cannot be used:", *dict.fromkeys(checker.errors)]))


class _Checker:
    """Walks a config and collects what is wrong."""

    def __init__(self, scope: str, unused: Collection[str]) -> None:
        self.scope, self.unused = scope, set(unused)
        self.errors: list[str] = []
        self.absent: set[str] = set()

    def whole(self, cfg: dict) -> None:
        """The top level."""
        known = RECAPTIONING if "passes" in cfg else TOP_LEVEL
        if self.own():  # OpenMMLab's other configs keep variables of their own beside the settings
            self.keys("", cfg, known)
        self.unused |= {name for name in SETTINGS if not self.own() or cfg.get(name) not in roots(cfg)}
        self.errors += wrong_foreign(cfg)
        needs = "recaptioning needs" if "passes" in cfg else "MMEngine needs"
        for group in (("source", "passes"),) if "passes" in cfg else (("model",), *TOGETHER):
            absent = [name for name in group if cfg.get(name) is None]
            if absent and (len(absent) < len(group) or group[0] in ("model", "source")):
                self.errors.append(f"{absent[0]} is missing; {needs} {', '.join(group)}")
        for name in sorted((name for name in cfg if name in known), key=lambda name: name != "model"):  # where paths begin
            if name in SLOTS and not isinstance(cfg[name], dict | list | tuple | None):
                self.errors.append(f"{name}={cfg[name]!r}: give a dict with a type")
            self.walk(name, name, cfg[name], strict=True)
        self.errors += [] if self.errors else [*wrong_schedules(cfg), *unfit_schedules(cfg), *unpackable(cfg)]

    def own(self) -> bool:
        """Whether the scope is FineViT's or MMEngine's, where nothing is left to the conventions of another package."""
        return self.scope in STRICT

    def walk(self, path: str, key: str, value: Any, strict: bool) -> None:
        """Any value; ``key`` is the setting that it belongs to, ``path`` its dotted name."""
        if key in IGNORED:
            return
        if strict and key in SLOTS and not SLOTS[key].plain and isinstance(value, str | int | float) and "." in path:
            self.errors.append(f"{path}={value!r}: give a dict with a type")
        elif isinstance(value, str):
            self.file(path, key, value)
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                self.walk(f"{path}.{index}", key, item, strict)
        elif isinstance(value, dict):
            self.mapping(path, key, value, strict)

    def mapping(self, path: str, key: str, value: dict, strict: bool) -> None:
        """A dict: components by name, one component, or plain keys."""
        slot = slot_of(key, value) if strict and path not in PLAIN else None
        group = slot and slot.nested and "type" not in value and (".batch_sampler." in path or not value)
        if group or (slot and slot.many and path.endswith(key)):
            for name, item in value.items():
                self.named(f"{path}.{name}", key, name, item)
        elif slot or ("type" in value and path not in PLAIN):
            self.component(path, value, slot, strict)
        else:
            self.plain(path, value)
            for name, item in value.items():
                self.walk(f"{path}.{name}", str(name), item, strict)

    def plain(self, path: str, value: dict) -> None:
        """The keys of a dict that is no component."""
        self.keys(path, value, PLAIN.get(path, value))
        if path in READERS:
            self.errors += [line for line in wrong_values(path, value, READERS[path]) if not self.told(line.partition("=")[0])]
        if path.endswith("_dataloader"):
            needed = ("dataset", "sampler", "batch_size") if value.get("batch_sampler") else ("dataset", "sampler")
            self.errors += [f"{path}.{name} is missing" for name in needed if name not in value]
            self.errors += (
                [f"{path}.dataset=None: give a dict with a type"] if "dataset" in value and value["dataset"] is None else []
            )

    def named(self, path: str, key: str, name: str, value: Any) -> None:
        """One of the components that a setting holds by name."""
        typo = did_you_mean(name, DEFAULT_HOOKS) if key == "default_hooks" and name not in DEFAULT_HOOKS else ""
        if typo:
            self.errors.append(f"{path}: MMEngine has no default hook {name!r}{typo}; other hooks belong in custom_hooks")
        elif isinstance(value, dict):
            self.walk(path, key, value, strict=True)

    def component(self, path: str, value: dict, slot: Slot | None, strict: bool) -> None:
        """A dict that becomes an object."""
        kind = value.get("type", slot.default if slot else "")
        scope, self.scope = self.scope, value.get("_scope_", self.scope)
        if "_scope_" in value and slot and slot.registry is root.FUNCTIONS:
            self.errors.append(
                f"{path}._scope_={self.scope!r}: MMEngine hands it to the function; write it before the type: SCOPE.NAME"
            )
        registries = (slot.registry,) if slot else ROOTS
        contract = resolve_name(slot.contract) if slot else object
        found = [each for each in self.find(kind, registries) if _fits(each, contract)]
        if not kind:
            choices = ", ".join(self.ours(registries, contract))
            self.errors += [f"{path}: which one? Set {path}.type to one of {choices}"] * self.own()
        elif not found and (strict or str(kind).startswith("finevit.")):
            self.unknown(f"{path}.type", str(kind), registries, contract)
            told = f"{path}._scope_={self.scope!r}: the type is looked up in that package; leave it out, or give its own"
            self.errors += [told] if "_scope_" in value else []
        elif path == "model":
            self.trainable(found)
        readings = sorted((_wrong_arguments(path, value, component, slot, strict) for component in found), key=len)
        self.errors += [line for line in (readings[0] if readings else []) if not self.told(line.partition("=")[0])]
        inside = strict and (not found or any(_package(component) in STRICT for component in found))
        for name, item in value.items():
            if name not in RESERVED:
                self.walk(f"{path}.{name}", name, item, inside)
        self.scope = scope

    def told(self, path: str) -> bool:
        """Whether something was said of a setting, or of a value inside it."""
        return any(error.startswith((f"{path}=", f"{path}.")) for error in self.errors)

    def find(self, kind: Any, registries: Iterable[Registry]) -> list[Callable]:
        """What a type can mean in the registries of the current scope."""
        if not isinstance(kind, str) or not kind:
            return [kind] if callable(kind) else []
        found = [registered(scoped(registry, self.scope), kind) for registry in registries]
        return list(dict.fromkeys(component for component in found if component is not None))

    def unknown(self, path: str, kind: str, registries: Iterable[Registry], contract: type) -> None:
        """Report a type that no registry knows, or that is of another kind."""
        places = [scoped(registry, self.scope) for registry in registries]
        known = [name for registry in places for name, each in _components(registry) if _fits(each, contract)]
        elsewhere = [other for other in (scoped(registry, self.scope) for registry in ROOTS) if registered(other, kind)]
        wanted = _kind(places[0]) if len(places) == 1 else "type"
        what = f"is a {_kind(elsewhere[0])}, not a {wanted}" if elsewhere else f"is no known {wanted}"
        what = what if contract is object else f"is no {contract.__name__}"
        choices = ", ".join(self.ours(registries, contract)) or "none of its own"
        self.errors.append(f"{path}={kind!r} {what}{did_you_mean(kind, known)}; FineViT has {choices}")

    def trainable(self, found: Iterable[Callable]) -> None:
        """Report a part of a model that stands where the whole belongs."""
        for name in [part.__name__ for part in found if not _steps(part)]:
            stages = ", ".join(kind for kind in self.ours((root.MODELS,)) if _steps(registered(REGISTRIES["model"], kind)))
            self.errors.append(f"model.type={name!r} is a part of a model, which cannot be trained alone; FineViT has {stages}")

    def ours(self, registries: Iterable[Registry], contract: type = object) -> list[str]:
        """The names of FineViT and its plugins."""
        children = [registry.children.get("finevit", registry) for registry in registries]
        children = [child for child in children if child.scope == "finevit"]
        return sorted({name for child in children for name, part in child.module_dict.items() if _fits(part, contract)})

    def keys(self, path: str, value: dict, allowed: Iterable[str]) -> None:
        """Report the keys that are not allowed."""
        for name in [name for name in value if name not in allowed]:
            where = f"{path}.{name}" if path else str(name)
            hint = did_you_mean(str(name), allowed) or _places(str(name), {} if path else value) or f"; known are {_list(allowed)}"
            self.errors.append(f"{where} is no known setting{hint}{'' if path else VARIABLE.format(name)}")

    def file(self, path: str, key: str, value: str) -> None:
        """Report an input file or folder that does not exist."""
        looks_like_path = value.startswith(("/", "./", "../", "~")) and not any(word in key for word in OUTPUTS)
        if (
            path.partition(".")[0] in self.unused
            or value in self.absent
            or "://" in value
            or not (looks_like_path or key in INPUTS)
        ):
            return
        if path.partition(".")[0] not in self.unused and not Path(value).expanduser().exists():
            self.absent.add(value)
            self.errors.append(f"{path}={value!r}: {missing(Path(value))}")


def _wrong_arguments(path: str, value: dict, component: Callable, slot: Slot | None, strict: bool) -> list[str]:
    """Arguments that the constructor does not take, and required ones that are absent."""
    if not strict and _package(component) not in STRICT[:2]:
        return []
    takes, (given, extra) = arguments(component), (slot.given, slot.extra) if slot else ((), ())
    name, choices, errors = kind_of(value) or getattr(component, "__name__", str(component)), takes.names - set(given), []
    for key in () if takes.open else sorted(set(value) - RESERVED - takes.names - set(extra)):
        hint = did_you_mean(key, choices) or f"; it takes {_list(choices) or 'none'}"
        errors.append(f"{path}.{key}: {name} has no argument {key!r}{hint}")
    if strict:
        if not errors and (_package(component) in STRICT or is_enforced(component)):  # annotations of other packages promise less
            errors += wrong_values(path, value, component)
        there = {key for key in value if value[key] is not None or key not in SLOTS}
        errors += [f"{path}.{key} is missing: {name} needs it" for key in sorted(takes.required - there - set(given))]
    return errors


def _places(name: str, cfg: dict) -> str:
    """Where a config has settings of that name further down; empty where it has none."""
    places = [path for path, _ in settings(cfg) if path.endswith(f".{name}")]
    return f" here; a setting of that name is {' or '.join(places[:3])}" if places else ""


def _kind(registry: Registry) -> str:
    """The name of a registry for people."""
    return next((kind for kind, other in REGISTRIES.items() if other is registry), registry.name.replace("_", " "))


def _steps(component: Any) -> bool:
    """Whether MMEngine could train it; only modules are certain not to be of use."""
    return hasattr(component, "train_step") or not (inspect.isclass(component) and issubclass(component, nn.Module))


def _components(registry: Registry | None) -> list[tuple[str, Any]]:
    """Every name that a registry or one of its parents knows, and what it means."""
    return [] if registry is None else [*registry.module_dict.items(), *_components(registry.parent)]


def _fits(component: Any, contract: type) -> bool:
    """Whether a component is of the kind that a setting holds."""
    return contract is object or (inspect.isclass(component) and issubclass(component, contract))


def _package(component: Callable) -> str:
    module = inspect.getmodule(component)
    return module.__name__.partition(".")[0] if module else ""


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
