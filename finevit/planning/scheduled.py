"""What is a function of the step in a run, and that all of its values can be used: said before the first step."""

from functools import partial
from typing import Any

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from finevit.curriculum.hooks import ScheduleHook
from finevit.datasets.dataset import NativeImages
from finevit.datasets.samplers import NativeBatchSampler
from finevit.planning.breakpoints import Schedule, turns


def schedule_hooks(runner: Runner) -> list[ScheduleHook]:
    """Those that set scheduled values on the model."""
    return [hook for hook in runner.hooks if isinstance(hook, ScheduleHook)]


def scheduled(runner: Runner) -> dict[str, Schedule]:
    """Everything that is a function of the step, by its name in the plan.

    The resolution is the side of a square; of an argument that is a mapping of weights, such as ``AskQuestions.task_weights``, each
    item is there with its share of them all.
    """
    batches = runner.train_dataloader.batch_sampler
    found: dict[str, Schedule] = {"resolution": lambda step: round(batches.resolution(step).pixels ** 0.5, 1)}
    found |= {name: partial(_share if group_of(name) else _value, batches, name) for name in batches.schedules}
    for hook in schedule_hooks(runner):
        found |= hook.schedules
    return found


def group_of(name: str) -> str:
    """The mapping to which a scheduled weight belongs, such as ``AskQuestions.task_weights``; empty for other schedules."""
    return name.rpartition(".")[0] if name.count(".") == 2 else ""


def transforms_over(loader: DataLoader, steps: int) -> dict[int, list[Any]]:
    """Step -> the transforms of a loader as its schedules have them, wherever one of these turns; none for other datasets."""
    dataset, batches = loader.dataset, loader.batch_sampler
    if not isinstance(dataset, NativeImages):
        return {}
    if not isinstance(batches, NativeBatchSampler):
        return {0: dataset.transforms.transforms}
    return {step: dataset.transforms_at(batches.values(step)) for step in turns(batches.schedules.values(), steps)}


def check_length(
    setting: str, length: int, what: str, *, reads: tuple[str, int, str], remedy: str, step: int | None = None
) -> None:
    """``ValueError`` for a length of ``what``, set or at a ``step`` of the training, that is not set or more than the model reads.

    ``reads`` is the part of the model, the most that it reads, and the unit of that.
    """
    part, context, unit = reads
    if not length:
        schedule = "" if step is None else ", or a schedule in train_dataloader.batch_sampler.schedules"
        raise ValueError(f"{setting} is not set, the most tokens of {what}: give a number, at most {context}{schedule}")
    if length > context:
        at = "" if step is None else f" at step {step}"
        raise ValueError(f"{setting} is {length}{at}, but the {part} reads {context} {unit}; {remedy}")


def check_schedules(runner: Runner) -> None:
    """``ValueError`` for a value of the batch sampler or of a ``ScheduleHook``, at any step of the run, that cannot be used."""
    batches, hooks = runner.train_dataloader.batch_sampler, schedule_hooks(runner)
    native = [batches] if isinstance(batches, NativeBatchSampler) else []
    schedules = [schedule for part in native for schedule in (part.resolution, *part.schedules.values())]
    schedules += [schedule for hook in hooks for schedule in hook.schedules.values()]
    for step in turns(schedules, int(runner.train_loop.max_iters)):
        for part in native:
            part.resolution(step)
            part.check(step)
        for hook in hooks:
            hook.check(runner.model, step)


def _value(batches: NativeBatchSampler, name: str, step: int) -> Any:
    return batches.value(name, step)


def _share(batches: NativeBatchSampler, name: str, step: int) -> float:
    """How large a part a weight is of all in its mapping."""
    weights = [batches.value(other, step) for other in batches.schedules if group_of(other) == group_of(name)]
    return batches.value(name, step) / sum(weights)
