"""What a run has beside its model, built before that: what is wrong with data, metrics, hooks or optimiser is told in seconds."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from mmengine.device import get_device
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS, OPTIM_WRAPPERS, OPTIMIZERS
from mmengine.runner import Runner

from finevit.config.schema import registered, scoped
from finevit.registry import kind_of

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
