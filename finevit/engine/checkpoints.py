"""Checkpoints that a run begins with or goes on from: what fits, and what one gives the run, looked at before it is used."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from torch import Tensor

from finevit.console import say
from finevit.engine.cli import is_ours
from finevit.engine.hooks.checkpoint_hook import DurableCheckpointHook, folders_of
from finevit.hub.kinds import unlike
from finevit.hub.locate import first_line
from finevit.hub.weights import differences, read_checkpoint, refuse, resample_patches, weights_of
from finevit.registry import HOOKS
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


@HOOKS.register_module()
class StreamingCheckpointHook(DurableCheckpointHook):
    """The durable hook of the stages.

    A checkpoint that is loaded must be of this model: what fits by name and shape is taken over, the rest is trained anew. A line
    for people says so by parts, the log file by tensors.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = unwrapped(runner.model)
        setting = "resume" if runner._resume else "load_from"
        said = [] if runner._resume else resampled(model, checkpoint)
        super().after_load_checkpoint(runner, checkpoint)
        own, weights = model.state_dict(), weights_of(checkpoint)
        faults = differences(own, weights)
        fits = {name: value for name, value in weights.items() if name not in faults}
        taken = taken_over(own, weights, setting=setting)
        if runner._resume:
            check_state(runner, checkpoint)
            warn_of_lost(runner, checkpoint)
        said += [taken, f"{len(fits)} of {len(own)} tensors, from {runner._load_from}"]
        say(f"{setting}: {'; '.join(said)}", runner.logger)
        if faults:
            runner.logger.info(f"{setting}, what differs:\n  " + "\n  ".join(f"{name}: {what}" for name, what in faults.items()))
        checkpoint["state_dict"] = {**own, **fits}  # MMEngine would list what differs once more, and as a warning


def save_now(runner: Runner) -> str:
    """Writes a checkpoint between two steps, as the run's own hook does, named by the step; its path. Every rank waits for it."""
    own = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    hook = next((hook for hook in own if not hook.by_epoch), None)
    if hook is None:
        hook = StreamingCheckpointHook(by_epoch=False)
        hook.before_train(runner)
        hook.out_dir = own[0].out_dir if own else hook.out_dir
    hook._save_checkpoint_with_step(runner, runner.iter, meta={"epoch": runner.epoch, "iter": runner.iter})
    barrier()
    return str(hook.last_ckpt)


_REMEDIES = {
    "resume": "restore the model's settings, or start a new run without --resume",
    "load_from": "give the backbone the checkpoint's settings, or load another checkpoint",
}
"""Where a checkpoint does not fit, by the setting that names it."""
_WHOLE = {"llm": "set model.llm with its train and lora as in the checkpoint, or load a checkpoint without a language model"}
"""Parts that are of no use if a checkpoint fills them in part, with the remedy."""


def resampled(model: Any, checkpoint: dict) -> list[str]:
    """Fits the checkpoint's patch embedding to the patches that ``model.backbone.patch`` asks for; what was done, for people."""
    backbone: Any = getattr(model, "backbone", None)
    if not getattr(backbone, "resamples", False):
        return []
    weights = weights_of(checkpoint)
    said = resample_patches(weights, "backbone.embed.weight", backbone.patch)
    checkpoint["state_dict"] = weights
    return [said] if said else []


def taken_over(model: dict[str, Tensor], weights: dict[str, Tensor], *, setting: str) -> str:
    """Which of the model's parts (first names of its tensors) a checkpoint fills and which start new, for people.

    Raises ``ValueError`` where it does not fill the whole backbone or, to resume a run, the whole model; and where it fills a
    language model in part (with LoRA into one without, or the reverse).
    """
    faults = differences(model, weights)
    fits = model.keys() - faults.keys()
    needed = {name: what for name, what in faults.items() if setting != "load_from" or name.startswith("backbone.")}
    if needed or not fits:
        refuse(needed or faults, where=f"{setting}: the checkpoint is of another model", remedy=_REMEDIES[setting])
    for part, remedy in _WHOLE.items():
        differ = {name: what for name, what in faults.items() if name.startswith(f"{part}.")}
        if differ and any(name.startswith(f"{part}.") for name in fits):
            refuse(differ, where=f"{setting}: the checkpoint fills {part} in part alone", remedy=remedy)
    parts: dict[str, list[str]] = {}
    for name in model:
        parts.setdefault(name.partition(".")[0], []).append(name)
    new = [part for part, names in parts.items() if fits.isdisjoint(names)]
    partly = [part for part, names in parts.items() if part not in new and not fits.issuperset(names)]
    taken = [part for part in parts if part not in (*new, *partly)]
    said = (("taken over", taken), ("taken over in part, the rest starts new", partly), ("start new", new))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in said if names)


def check_resumable(checkpoint: str, *, remedy: str = "give another with --resume FILE, or start anew without --resume") -> int:
    """The iteration of a whole checkpoint of a training run, 0 of one far away; ``ValueError`` where a file is none."""
    if "://" in checkpoint:
        return 0
    content = read_checkpoint(checkpoint, setting="resume", remedy=remedy)
    if absent := {"meta", "state_dict", "optimizer"} - content.keys():
        raise ValueError(f"resume={checkpoint!r} lacks {', '.join(sorted(absent))}, so no run can go on from it; {remedy}")
    iteration = content["meta"].get("iter") if isinstance(content["meta"], Mapping) else None
    if not isinstance(iteration, int):
        raise ValueError(f"resume={checkpoint!r} does not say its iteration (meta.iter), so no run can go on from it; {remedy}")
    return iteration


def check_loadable(
    checkpoint: str, *, setting: str = "load_from", remedy: str = "give another with --cfg-options load_from=FILE"
) -> None:
    """Raise ``ValueError`` where a file, which ``setting`` names, holds no weights that could be read."""
    if "://" not in checkpoint:
        read_checkpoint(checkpoint, setting=setting, remedy=remedy)
