"""What a checkpoint gives a run that goes on from it, looked at before it is used: no odd part ends the run deep inside."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from torch import Tensor

from finevit.console import say
from finevit.engine.cli import is_ours
from finevit.engine.hooks.checkpoint_hook import folders_of
from finevit.hub.kinds import unlike
from finevit.hub.locate import first_line
from finevit.hub.weights import refuse
from finevit.unwrap import unwrapped

OF_SHAPE = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")
"""State of optimisers that has the shape of its parameter."""
SHOWN = 3
"""So many parameters are named."""


@contextmanager
def usable(setting: str, file: str) -> Iterator[None]:
    """What fails while a checkpoint is taken over is told as a fault of the file; errors of ours pass."""
    try:
        yield
    except (OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if isinstance(error, ValueError) and is_ours(error):
            raise
        told = f"lacks {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {first_line(error)}"
        raise ValueError(f"{setting}={file!r} cannot be taken over ({told}); give another checkpoint") from error


def check_state(runner: Runner, checkpoint: Mapping[str, Any]) -> None:
    """``ValueError`` where the state of optimiser or schedules is none that those of this run could go on from."""
    held = checkpoint.get("optimizer") or {}
    faults = [*unlike(_groups(runner.optim_wrapper.state_dict()), _groups(held), "optimizer")]
    faults = faults or _of_other_shape(runner.optim_wrapper, held)
    schedulers, found = runner.param_schedulers, checkpoint.get("param_schedulers")
    if schedulers is not None and found is not None:
        own = {key: _states(each) for key, each in schedulers.items()} if isinstance(schedulers, dict) else _states(schedulers)
        faults += unlike(own, found, "param_schedulers")
    if faults:
        told = {name: f"is {what}" for name, _, what in (fault.partition(" is ") for fault in faults)}
        refuse(told, where=f"resume={runner._load_from!r}", remedy="restore the settings of the run, or give another checkpoint")


def _states(schedulers: Any) -> list[dict]:
    return [{key: value for key, value in each.state_dict().items() if _is_counted(value)} for each in schedulers]


def _is_counted(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, list) and all(isinstance(each, int | float) for each in value))


def _groups(state: Any) -> Any:
    """A state without that of single parameters, which a new optimiser has none of."""
    return {key: _groups(value) if isinstance(value, dict) else value for key, value in state.items() if key != "state"}


def _of_other_shape(wrapper: Any, found: Mapping[str, Any]) -> list[str]:
    optimizer, states = getattr(wrapper, "optimizer", None), found.get("state")
    if optimizer is None:  # of several optimisers
        return []
    if not isinstance(states, Mapping):
        return ["optimizer.state is no dict, wanted one"]
    parameters = _by_index(optimizer, found)
    if len(parameters) < sum(len(group["params"]) for group in optimizer.param_groups):
        return ["optimizer.param_groups is without a parameter of its own for each that is trained"]
    return [*(fault for index, state in states.items() for fault in _odd(index, state, parameters)), *_lacking(states)]


def _by_index(optimizer: torch.optim.Optimizer, found: Mapping[str, Any]) -> dict[Any, Tensor]:
    """The parameters by the numbers that a state has for them."""
    numbers = [number for group in found["param_groups"] for number in group["params"]]
    return dict(zip(numbers, (parameter for group in optimizer.param_groups for parameter in group["params"]), strict=False))


def _lacking(states: Mapping[Any, Any]) -> Iterator[str]:
    """What the state of one parameter lacks and that of another, which has all of its own, has too."""
    held = {index: frozenset(state) for index, state in states.items() if isinstance(state, dict)}
    for index, names in held.items():
        for name in max((other - names for other in held.values() if other > names), key=len, default=()):
            yield f"optimizer.state.{index}.{name} is missing"


def warn_of_lost(runner: Runner, checkpoint: Mapping[str, Any]) -> None:
    """Names parameters that are trained and of which the optimiser's state has nothing, though it has something of their part."""
    if lost := _without_state(runner, checkpoint):
        names = ", ".join(lost[:SHOWN]) + (f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else "")
        told = "the optimiser's state has nothing of what is trained as"
        runner.logger.warning(f"resume: {told} {names}: no gradient reached it yet, or it was lost; its moments begin anew")


def _without_state(runner: Runner, checkpoint: Mapping[str, Any]) -> list[str]:
    """Parts of which there is nothing at all were frozen so far. Of an empty state all is lost, where the optimiser keeps one."""
    optimizer: Any = getattr(runner.optim_wrapper, "optimizer", None)
    if (
        optimizer is None
        or not checkpoint.get("optimizer")
        or not any("betas" in group or group.get("momentum") for group in optimizer.param_groups)
    ):
        return []
    names = {id(parameter): name for name, parameter in unwrapped(runner.model).named_parameters() if parameter.requires_grad}
    held, states = _by_index(optimizer, checkpoint["optimizer"]), checkpoint["optimizer"].get("state") or {}
    trained = {index: names[id(parameter)] for index, parameter in held.items() if id(parameter) in names}
    parts = {trained[index].partition(".")[0] for index in trained if index in states}
    return [name for index, name in trained.items() if index not in states and (name.partition(".")[0] in parts or not parts)]


def _odd(index: Any, state: Any, parameters: dict[Any, Tensor]) -> Iterator[str]:
    where = f"optimizer.state.{index}"
    if index not in parameters or not isinstance(state, dict):
        yield f"{where} is no state of a parameter, wanted at most {len(parameters)}"
        return
    for name in state.keys() & set(OF_SHAPE):
        yield from unlike(parameters[index], state[name], f"{where}.{name}") if state[name] is not None else ()
    if "step" in state:
        yield from unlike(1, state["step"], f"{where}.step")


def forget_others(runner: Runner) -> None:
    """A run that goes on removes no file but its own: the best one of a checkpoint made elsewhere is no longer replaced."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    places = (Path(runner.work_dir), *folders_of(runner.work_dir, (hook.out_dir for hook in hooks)))
    folders = {folder.resolve() for folder in places}
    info = runner.message_hub.runtime_info
    for name in [name for name in info if name.startswith("best_ckpt")]:
        if not isinstance(info[name], str) or Path(info[name]).resolve().parent not in folders:
            say(f"resume: the best checkpoint so far is {str(info[name])!r}, of another run, and stays there", runner.logger)
            runner.message_hub._runtime_info.pop(name)
