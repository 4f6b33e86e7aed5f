"""The config in a checkpoint: data of whoever made the file, so its text is not run, and it names registered components alone."""

import ast
import math
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.utils import get_object_from_string

from finevit.boxes import GONE, check_style
from finevit.config.dotted import dicts
from finevit.config.options import ConfigError
from finevit.config.renamed import rename_settings
from finevit.config.schema import ROOTS
from finevit.hub.trust import OFFER, trusted

LONGEST = 1 << 22
"""Characters of a text that is looked at."""
NUMBERS = {"inf": math.inf, "nan": math.nan}


def parse(text: str) -> dict[str, Any]:
    """The settings of a text as MMEngine's ``Config.pretty_text`` writes it; ``ValueError`` names the line that is more."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ValueError(f"is no text of at most {LONGEST:,} characters")
    try:
        return dict(_setting(statement) for statement in ast.parse(text).body if not _is_docstring(statement))
    except (SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f"is no text of settings ({type(error).__name__}: {error})") from None


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _setting(statement: ast.stmt) -> tuple[str, Any]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        name = statement.targets[0].id
        if name != "_base_":
            return name, _value(statement.value)
    raise _more(statement)


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.List():
            return [_value(each) for each in node.elts]
        case ast.Tuple():
            return tuple(_value(each) for each in node.elts)
        case ast.Set():
            return {_value(each) for each in node.elts}
        case ast.Dict():
            return {_key(key, node): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand)
        case ast.Name(id=name) if name in NUMBERS:
            return NUMBERS[name]
        case ast.Call(func=ast.Name(id="dict"), args=[] | [ast.Dict()]):
            named = {_name(keyword, node): _value(keyword.value) for keyword in node.keywords}
            return {**(_value(node.args[0]) if node.args else {}), **named}
    raise _more(node)


def _key(key: ast.expr | None, node: ast.expr) -> Any:
    if key is None:
        raise _more(node)
    return _value(key)


def _name(keyword: ast.keyword, node: ast.expr) -> str:
    if keyword.arg is None:
        raise _more(node)
    return keyword.arg


def _number(node: ast.expr) -> Any:
    value = _value(node)
    if not isinstance(value, int | float | complex) or isinstance(value, bool):
        raise _more(node)
    return value


def _more(node: ast.AST) -> ValueError:
    told = ast.unparse(node).splitlines()[0][:80]
    return ValueError(f"holds code in line {getattr(node, 'lineno', '?')}, of which nothing was run: {told}")


SCOPES = ("finevit", "mmengine", "mmcv", "mmpretrain", "mmdet", "mmseg")
"""Packages whose registries a config in a checkpoint may open."""
BUILT, ENDINGS = ("model", "data_preprocessor", "default_scope"), ("_dataloader", "_evaluator")
"""Settings of which tools build something."""
OTHERS = ("runner", "runner constructor", "strategy")
"""Registries of what is no part of a model or its data."""


def recorded_config(checkpoint: str | Path, meta: Mapping[str, Any]) -> Config:
    """The config that a checkpoint's ``meta`` holds; ``ConfigError`` where it is none, or would run code."""
    text = meta.get("cfg")
    if not text:
        raise ConfigError(f"{checkpoint} holds no config; give the one that it was trained with by --config FILE")
    try:
        cfg = Config.fromstring(text, ".py") if trusted() and isinstance(text, str) else Config(_checked(text))
        rename_settings(cfg._cfg_dict)
        return cfg
    except Exception as error:  # of other programs: anything
        remedy = f"give the one that it was trained with by --config FILE or, {OFFER}"
        raise ConfigError(f"{checkpoint}: the config in it {error}; {remedy}") from error


def check_answers(checkpoint: str | Path, meta: object) -> None:
    """``ValueError`` where the config in a checkpoint had it learn to answer in a box style that is no longer there."""
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    try:
        settings = dict(text) if isinstance(text, Mapping) else parse(text or "")
    except ValueError:  # of other programs: anything
        return
    for _, node in dicts(settings.get("train_dataloader")):
        if node.get("style") == GONE:
            try:
                check_style(GONE)
            except ValueError as error:
                raise ConfigError(f"{checkpoint}: {error}") from error


def _checked(text: Any) -> dict[str, Any]:
    settings = dict(text) if isinstance(text, Mapping) else parse(text)
    imports = (settings.pop("custom_imports", None) or {}).get("imports") or []
    built = {name: part for name, part in settings.items() if name in BUILT or name.endswith(ENDINGS)}
    check_components(built)
    if imports and (unknown := [kind for kind in _kinds(built) if not _has(kind.rpartition(".")[2])]):
        raise ValueError(f"needs {unknown[0]!r} from {imports}, which is not imported because a file says so")
    return settings


def check_components(settings: Any) -> None:
    """``ValueError`` where a ``type`` or scope is no registered component but what MMEngine would import by its dotted name."""
    nodes = list(dicts(settings))
    for path, node in nodes:
        for key in ("_scope_", "default_scope"):
            if (scope := node.get(key)) and scope not in _scopes():
                raise ValueError(f"names in {_inside(path, key)} the package {scope!r}, which has no components here")
    _open(nodes)
    for path, node in nodes:
        kind = node.get("type")
        if isinstance(kind, str) and not _is_component(kind):
            raise ValueError(f"names in {_inside(path, 'type')}={kind!r} no component but code, of which nothing was run")


def _inside(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _kinds(settings: Any) -> Iterator[str]:
    return (kind for _, node in dicts(settings) if isinstance(kind := node.get("type"), str))


def _scopes() -> set[str]:
    return {*SCOPES, *(name for root in ROOTS for name in root.children)}


def _is_component(kind: str) -> bool:
    """Whether no registry would import what the name says: a registered component, or what is nothing at all."""
    scope, _, name = kind.rpartition(".")
    if not scope:
        return not kind.isidentifier() or _has(kind) or find_spec(kind) is None
    package = scope.partition(".")[0]
    if package not in _scopes():
        return False
    if scope == package and _has(name, scope):
        return True
    found = get_object_from_string(kind)
    return found is None or any(found in registry.module_dict.values() for registry in _registries())


def _open(nodes: Iterable[tuple[str, dict]]) -> None:
    """Fills the registries of the packages that a config names, and of no other: some warn when they are imported."""
    named: set[Any] = {*SCOPES[:2]}
    for _, node in nodes:
        named |= {node.get("_scope_"), node.get("default_scope"), str(node.get("type")).partition(".")[0]}
    for scope in named & _scopes():
        import_module(f"{scope}.registry") if find_spec(f"{scope}.registry") else None
    for registry in _registries():
        if registry.scope in named:
            registry.import_from_location()


def _has(name: str, scope: str = "") -> bool:
    """Whether a registry, of a scope or of any that is open, has a component of this name."""
    return any(name in registry.module_dict for registry in _registries() if not scope or registry.scope == scope)


def _registries() -> Iterator[Registry]:
    for root in [root for root in ROOTS if root.name not in OTHERS]:
        yield from (root, *root.children.values())
