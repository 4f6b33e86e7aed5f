"""What is a function of the step in a run, and that all of its values can be used: said before the first step."""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import islice, pairwise
from typing import Any

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from finevit.curriculum.hooks import ScheduleHook
from finevit.datasets.dataset import NativeImages
from finevit.datasets.samplers import NativeBatchSampler

COARSE, FINE = 8, 64
"""Parts into which a run is cut: where something moves all the time, and to notice that something does."""
MOST = 12
"""A schedule with more changes than this moves gradually."""

Schedule = Callable[[int], Any]


def knots(schedules: Iterable[Schedule], steps: int) -> list[int]:
    """Steps from 0 to ``steps - 1``, ascending, between which every schedule is constant or about a line.

    A jump at step ``s`` gives ``s - 1`` and ``s``; a ramp its begin, middle and end, beside the even grid that every run has.
    """
    last = steps - 1
    found = {0, last, *_grid(last, COARSE)}
    for schedule in schedules:
        found |= _bends(schedule, last)
    return sorted(found)


def turns(schedules: Collection[Schedule], steps: int) -> list[int]:
    """The knots, and each step before ``steps`` that a schedule names, however soon the next one follows.

    Milestones are constant in between and ramps monotone: no value of theirs lies outside of those at the turns.
    """
    named = {step for schedule in schedules for step in _named(schedule) if step < steps}
    return sorted({*knots(schedules, steps), *named})


def _named(schedule: Schedule) -> Iterator[int]:
    """What ``milestones``, ``begin`` and ``end`` of a schedule say."""
    pairs = getattr(schedule, "milestones", ())
    steps = [pair[0] for pair in pairs if isinstance(pair, list | tuple)]
    yield from (step for step in (*steps, *(getattr(schedule, end, None) for end in ("begin", "end"))) if isinstance(step, int))


def _bends(schedule: Schedule, last: int) -> set[int]:
    jumps = list(islice(_changes(schedule, last), MOST + 1))
    if len(jumps) <= MOST:
        return {near for step in jumps for near in (step - 1, step)}
    end = last - next(_changes(lambda step: schedule(last - step), last)) + 1  # the first change seen from the end
    begin = jumps[0] - 1
    return {begin, (begin + end) // 2, end}


def _changes(schedule: Schedule, last: int) -> Iterator[int]:
    """Steps at which the value is not that of the step before; equal ends of a fine part mean that nothing happens in it."""
    for begin, end in pairwise(_grid(last, FINE)):
        yield from _search(schedule, begin, end)


def _search(schedule: Schedule, begin: int, end: int) -> Iterator[int]:
    if schedule(begin) == schedule(end):
        return
    if end == begin + 1:
        yield end
        return
    middle = (begin + end) // 2
    yield from _search(schedule, begin, middle)
    yield from _search(schedule, middle, end)


def _grid(last: int, parts: int) -> list[int]:
    return sorted({last * part // parts for part in range(parts + 1)})


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
