"""What loading a config does beside merging files and options: every rule, by name, in its order.

``AFTER_OPTION`` follow each option; when all are merged, :func:`~finevit.config.own_data.use_own_data` and then ``RULES`` complete
the config. ``finevit inspect`` tells which of them set or dropped a value, with the first line of its docstring.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, Registry

from finevit.config.dotted import at, dicts
from finevit.config.options import ConfigError
from finevit.config.own_data import LOADERS, sources
from finevit.config.schema import RESERVED, arguments, registered, scoped, slot_of

SCHEDULED = ("resolution", "schedules")
"""Settings below which schedules stand."""
STEPS = ("begin", "end")


def resolve_fractions(cfg: Config) -> None:
    """A share of the run (0.0 to 1.0) becomes a step wherever a schedule names one: ``begin``, ``end``, ``milestones``.

    Whole numbers are steps already and stay. The resolved numbers are what the saved config shows. In a run too short to hold them
    all, the last of milestones at one step counts, and a ramp takes at least one step.
    """
    steps = (cfg.get("train_cfg") or {}).get("max_iters")
    for name, value in cfg.items():
        _walk(name, value, steps, inside=name in SCHEDULED)
    for index, item in enumerate(cfg.get("param_scheduler") or ()):  # MMEngine's, whose milestones are steps
        if isinstance(item, dict) and any(isinstance(item.get(name), float) for name in STEPS):
            within = "begin" in item and "end" not in item
            _resolve_ends(f"param_scheduler.{index}", item, steps)
            if within and isinstance(steps, int):  # MMEngine refuses to begin at the end, to which few steps round
                item["begin"] = max(min(item["begin"], steps - 1), 0)


def _walk(path: str, value: Any, steps: Any, inside: bool) -> None:
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _walk(f"{path}.{index}", item, steps, inside)
    elif isinstance(value, dict):
        if inside and isinstance(value.get("milestones"), list | tuple):
            value["milestones"] = _distinct(f"{path}.milestones", value["milestones"], steps)
        elif inside:
            _resolve_ends(path, value, steps)
        for name, item in value.items():
            _walk(f"{path}.{name}", item, steps, inside or name in SCHEDULED)


def _resolve_ends(path: str, value: dict, steps: Any) -> None:
    """``begin`` and ``end`` of a ramp in steps; given as shares, they are at least one apart."""
    given = {name: value[name] for name in STEPS if not isinstance(value.get(name), dict | None)}
    value |= {name: _step(f"{path}.{name}", step, steps) for name, step in given.items()}
    if "end" in given and any(isinstance(step, float) for step in given.values()):
        value["end"] = max(value["end"], (value.get("begin") or 0) + 1)


def _distinct(path: str, milestones: Any, steps: Any) -> list:
    """The milestones in steps; those that rounding brought to one step are one."""
    if not milestones or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in milestones):
        raise ValueError(f"{path}={milestones!r}: give pairs (step, value)")
    resolved = [(_step(path, step, steps), held) for step, held in milestones]
    return [
        milestone
        for milestone, (share, _), following in zip(resolved, milestones, [*resolved[1:], (None, None)], strict=True)
        if not (isinstance(share, float) and milestone[0] == following[0])
    ]


def _step(path: str, value: Any, steps: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, float):
        raise ValueError(f"{path}: {value!r} is no step; give a whole number, or a share of the run from 0.0 to 1.0")
    if not 0 <= value <= 1:
        raise ValueError(f"{path}: {value} is no step; give a whole number, or a share of the run from 0.0 to 1.0")
    if not isinstance(steps, int):
        raise ValueError(f"{path}: {value} is a share of the run, which needs train_cfg.max_iters; give a whole number of steps")
    return round(value * steps)


OF_WORKERS = ("persistent_workers", "prefetch_factor")
"""What torch refuses in a dataloader without workers."""
WITH_WEIGHTS = ("config", "tokenizer")
"""What weights of a language model bring along."""


def drop_stale_arguments(cfg: Config, option: str) -> None:
    """An option that names a type drops the arguments that this component does not take, and a tokenizer where it has its own."""
    path, _, key = option.rpartition(".")
    if key != "type" or not path:
        return
    node = at(cfg, path.split("."))
    slot = slot_of(path.rpartition(".")[2], node)
    component = registered(scoped(slot.registry, cfg.get("default_scope") or "mmengine"), node["type"]) if slot else None
    if slot is None or component is None or (takes := arguments(component)).open:
        return
    for name in [name for name in node if name not in takes.names | RESERVED | set(slot.extra)]:
        del node[name]
    if _own_tokenizer(component):
        node.pop("tokenizer", None)


def drop_of_weights(cfg: Config, option: str) -> None:
    """The option ``model.llm.model`` drops ``config`` and ``tokenizer`` of the language model, which its weights bring along."""
    if option == "model.llm.model" and cfg.model.llm.model:
        for stale in WITH_WEIGHTS:
            cfg.model.llm.pop(stale, None)


def drop_worker_settings(cfg: Config) -> None:
    """A dataloader without workers (``num_workers=0``) has no settings of workers, which torch would refuse."""
    for loader in [cfg[name] for name in LOADERS if isinstance(cfg.get(name), dict) and cfg[name].get("num_workers") == 0]:
        for name in OF_WORKERS:
            loader.pop(name, None)


def inherit_tokenizer(cfg: Config) -> None:
    """A transform that names no tokenizer reads with that of the text encoder or LLM, or of its Hugging Face ``model``."""
    model = cfg.get("model")
    encoder = model.get("text_encoder") or model.get("llm") if isinstance(model, dict) else None
    if not isinstance(encoder, dict):
        return
    component = _component(cfg, MODELS, encoder)
    tokenizer = encoder.get("tokenizer") or encoder.get("model") or _own_tokenizer(component)
    for transform in [part for loader in LOADERS for _, part in dicts(cfg.get(loader))]:
        if tokenizer and not transform.get("tokenizer") and _takes_tokenizer(_component(cfg, TRANSFORMS, transform)):
            transform["tokenizer"] = tokenizer


def inherit_patch(cfg: Config) -> None:
    """A transform that names no ``patch`` or ``snap`` takes ``model.backbone.patch``, and two of it for ``snap``."""
    model = cfg.get("model")
    backbone = model.get("backbone") if isinstance(model, dict) else None
    patch = backbone.get("patch") if isinstance(backbone, dict) else None
    if not isinstance(patch, int) or patch < 1:
        return
    for transform in [part for loader in LOADERS for _, part in dicts(cfg.get(loader))]:
        component = _component(cfg, TRANSFORMS, transform)
        takes = inspect.signature(component).parameters if component else {}
        for name in {"patch", "snap"} & takes.keys():
            value = transform.setdefault(name, patch if name == "patch" else 2 * patch)
            if value % patch or (name == "patch" and value != patch):
                told = f"{transform['type']}.{name}={value!r} does not go with model.backbone.patch={patch}"
                raise ConfigError(f"{told}: leave it out, or give {'the same' if name == 'patch' else 'a multiple'}")


def untold_tokenizers(cfg: Config) -> list[str]:
    """What is wrong where transforms still lack a tokenizer, since the model's own part names one only when it is built."""
    model = cfg.get("model")
    name = next((name for name in ("text_encoder", "llm") if isinstance(model, dict) and isinstance(model.get(name), dict)), "")
    component = _component(cfg, MODELS, model[name]) if name else None
    reading = [(path, each) for path, each in _transforms(cfg) if _takes_tokenizer(_component(cfg, TRANSFORMS, each))]
    lacking = [path for path, each in reading if not each.get("tokenizer")]
    if not lacking or not component or _takes_tokenizer(component):
        return []
    own = 'give the class an attribute tokenizer = "NAME_OR_FOLDER", or an argument tokenizer with such a default'
    options = " ".join(f"{path}.tokenizer=NAME_OR_FOLDER" for path in lacking)
    problem = f"model.{name}.type={model[name]['type']!r} names no tokenizer before it is built, but the loaders need it"
    return [f"{problem}: {own}; or name it by --cfg-options {options}"]


def _transforms(cfg: Config) -> Iterator[tuple[str, dict]]:
    """Dotted name and config of the transforms of each dataloader."""
    for path, dataset in sources(cfg):
        for index, transform in enumerate(dataset.get("transforms") or ()):
            yield f"{path}.transforms.{index}", transform


def _component(cfg: Config, registry: Registry, part: dict) -> Callable | None:
    """The component of that registry which a part of a config names."""
    kind = part.get("type")
    return registered(scoped(registry, cfg.get("default_scope") or "mmengine"), kind) if isinstance(kind, str) else None


def _takes_tokenizer(component: Callable | None) -> bool:
    return component is not None and "tokenizer" in inspect.signature(component).parameters


def _own_tokenizer(component: Callable | None) -> str:
    """The tokenizer of a component for which nothing else is set: its argument's default, or that of the class."""
    default = inspect.signature(component).parameters["tokenizer"].default if component and _takes_tokenizer(component) else ""
    own = default if isinstance(default, str) and default else getattr(component, "tokenizer", "")
    return own if isinstance(own, str) else ""


AFTER_OPTION: tuple[Callable[[Config, str], None], ...] = (drop_stale_arguments, drop_of_weights)
"""What an option, given by its dotted name, takes along."""
RULES: tuple[Callable[[Config], None], ...] = (drop_worker_settings, inherit_tokenizer, inherit_patch, resolve_fractions)
"""What completes a config, in this order."""
