"""What a run has beside its model, built before that, and what a component says when it is built: errors that name settings."""

import errno
import random
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy
import torch
from mmengine.device import get_device
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS, OPTIM_WRAPPERS, OPTIMIZERS, build_from_cfg
from mmengine.runner import Runner

from finevit.config.dotted import dicts
from finevit.config.options import ConfigError
from finevit.config.schema import RESERVED, registered, scoped
from finevit.registry import kind_of
from finevit.storage.places import FULL

OF_CONSTRUCTOR = ("optimizer", "constructor", "paramwise_cfg")
"""Settings of an optimiser wrapper that MMEngine takes out."""
WHOLE = ("Apex", "DeepSpeed", "ColossalAI", "ZeroRedundancy")
"""Wrappers and optimisers that need the whole model, or more parameters than ranks."""


def build_light(runner: Runner) -> None:
    """Builds loaders and evaluators, which the run will use, and once, to see that it can be done, hooks and optimiser."""
    with _random_numbers_kept():
        for name in ("train", "val") if runner._train_loop is not None else ("val", "test"):
            _build(runner, name)
        try_hooks(runner.cfg)
        try_optimizer(runner.cfg)


def _build(runner: Runner, name: str) -> None:
    loader, evaluator = f"_{name}_dataloader", f"_{name}_evaluator"
    seeds = {"seed": runner.seed, "diff_rank_seed": bool(runner._randomness_cfg.get("diff_rank_seed", False))}
    if getattr(runner, loader) is not None and not (runner.auto_scale_lr or {}).get("enable"):  # which reads the loader's settings
        setattr(runner, loader, runner.build_dataloader(getattr(runner, loader), **seeds))
    if getattr(runner, evaluator, None) is not None:
        setattr(runner, evaluator, runner.build_evaluator(getattr(runner, evaluator)))


def try_hooks(cfg: Mapping[str, Any]) -> None:
    """Builds each hook of a config that is MMEngine's or ours: what others do when they are built is not known."""
    registry = scoped(HOOKS, cfg.get("default_scope") or "mmengine")
    for hook in [*(cfg.get("default_hooks") or {}).values(), *(cfg.get("custom_hooks") or ())]:
        kind = registered(registry, hook.get("type")) if isinstance(hook, Mapping) else None
        if getattr(kind, "__module__", "").partition(".")[0] in ("finevit", "mmengine"):
            HOOKS.build({name: value for name, value in hook.items() if name != "priority"})


def try_optimizer(cfg: Mapping[str, Any]) -> None:
    """Builds the optimiser of a config, and its wrapper, on one parameter, and makes a step; those of ``WHOLE`` are left alone."""
    wrapper = cfg.get("optim_wrapper")
    if not isinstance(wrapper, Mapping) or not isinstance(wrapper.get("optimizer"), Mapping) or wrapper.get("constructor"):
        return
    if any(kind_of(part).startswith(WHOLE) for part in (wrapper, wrapper["optimizer"])):
        return
    parameter = torch.nn.Parameter(torch.zeros(2, 2, device=get_device()))
    optimizer = OPTIMIZERS.build(dict(wrapper["optimizer"]), default_args={"params": [parameter]})
    own = {name: value for name, value in wrapper.items() if name not in OF_CONSTRUCTOR}
    made = OPTIM_WRAPPERS.build({"type": "OptimWrapper", **own}, default_args={"optimizer": optimizer})
    made.message_hub = MessageHub("tried")  # the run's own has the norms of its own gradients
    made.update_params(parameter.sum())


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """The model is drawn from the numbers that it would have been drawn from without what is built before it."""
    own, of_numpy = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(own)
        numpy.random.set_state(of_numpy)


METHODS = {
    "setup_env": "env_cfg",
    "set_randomness": "randomness",
    "build_visualizer": "visualizer",
    "build_model": "model",
    "register_hooks": "default_hooks or custom_hooks",
    "build_dataloader": "the dataloaders",
    "build_train_loop": "train_cfg or train_dataloader",
    "build_val_loop": "val_cfg, val_dataloader or val_evaluator",
    "build_test_loop": "test_cfg, test_dataloader or test_evaluator",
    "build_evaluator": "val_evaluator",
    "build_optim_wrapper": "optim_wrapper",
    "build_param_scheduler": "param_scheduler",
    "scale_lr": "auto_scale_lr",
    "build_log_processor": "log_processor",
    "build_logger": "log_level",
    "__init__": "a setting of the run",
}
"""Settings by the method of MMEngine's Runner that builds from them."""
SHORT, MOST = 80, 300
"""Characters of a value, and of all of a part, that an error shows."""


@contextmanager
def refusals(cfg: Mapping[str, Any]) -> Iterator[None]:
    """Turns what was raised while the Runner built from a config into a ``ConfigError``; what comes later keeps its kind.

    The ``ValueError`` of a component of ours says what is wrong: the place in the config is put before it. Of others the settings
    are shown, and ``FINEVIT_TRACEBACK=1`` shows where. What the system says of a full place is handed on as it is.
    """
    try:
        yield
    except Exception as error:
        from finevit.engine.cli import is_ours

        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        path, setting = _building(cfg, frames)
        full = isinstance(error, OSError) and error.errno in (*FULL, errno.EROFS)
        if full or not setting or isinstance(error, ConfigError):
            raise
        if isinstance(error, ValueError) and is_ours(error):
            if not path or path in str(error):
                raise
            raise ConfigError(f"{path}: {error}") from error
        raise ConfigError(f"{setting} cannot be used ({told(error)}); FINEVIT_TRACEBACK=1 shows where") from error


def told(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _building(cfg: Mapping[str, Any], frames: list[FrameType]) -> tuple[str, str]:
    """What was being built, innermost first: path and settings of a part of the config, else what a method of the Runner reads."""
    methods = {getattr(Runner, name).__code__: setting for name, setting in METHODS.items()}
    methods[try_optimizer.__code__] = "optim_wrapper"
    for frame in reversed(frames):
        if frame.f_code is not build_from_cfg.__code__ and frame.f_code not in methods:
            continue
        given = [value for value in frame.f_locals.values() if isinstance(value, Mapping) and value]
        place = next(((path, part) for part in given if (path := path_of(cfg, part))), None)
        if place and frame.f_code is not Runner.__init__.__code__:
            where = f"{place[0]}{_lent(cfg, place[1])}"
            return where, f"{where}{_settings(place[1])}"
        if setting := methods.get(frame.f_code):
            return "", f"{setting}={cfg[setting]!r}" if setting in cfg else setting
    return "", ""


def _lent(cfg: Mapping[str, Any], part: Mapping) -> str:
    """Whose tokenizer a transform was given, as ``inherit_tokenizer`` does."""
    model = cfg.get("model") or {}
    parts = [(name, model[name]) for name in ("text_encoder", "llm") if isinstance(model.get(name), Mapping)]
    lent = [f"model.{name}.{key}" for name, own in parts for key in ("tokenizer", "model") if own.get(key) == part.get("tokenizer")]
    return f" ({lent[0]})" if lent and part.get("tokenizer") and part not in [own for _, own in parts] else ""


def _settings(given: Mapping) -> str:
    """What a part of a config is set to."""
    values = ", ".join(f"{name}={value!r}" for name, value in given.items() if name not in RESERVED and len(repr(value)) <= SHORT)
    return f": {given.get('type', '')}({values[:MOST]})"


def path_of(cfg: Mapping[str, Any], wanted: Mapping) -> str:
    """Where a config holds these settings, or more than these; what was added to them aside. Empty where it does not."""
    wanted = {name: value for name, value in wanted.items() if name != "_scope_"}
    places = [(path, value) for path, value in dicts(cfg) if path and value.get("type") == wanted.get("type")]
    same = [path for path, value in places if value == wanted]
    more = [path for path, value in places if wanted and all(name in value and value[name] == wanted[name] for name in wanted)]
    return next(iter([*same, *more]), "")
