"""What is a function of the step in a run, and that all of its values can be used: said before the first step."""

from functools import partial

from mmengine.runner import Runner

from finevit.curriculum.hooks import ScheduleHook
from finevit.datasets.samplers import SHARES, NativeBatchSampler
from finevit.planning.breakpoints import Schedule, turns
from finevit.planning.plan import MIXTURE


def schedule_hooks(runner: Runner) -> list[ScheduleHook]:
    """Those that set scheduled values on the model."""
    return [hook for hook in runner.hooks if isinstance(hook, ScheduleHook)]


def scheduled(runner: Runner) -> dict[str, Schedule]:
    """Everything that is a function of the step, by its name in the plan.

    The resolution is the side of a square; of a mixture, ``mixture.<task>`` are the tasks' shares, which add up to 1.
    """
    batches = runner.train_dataloader.batch_sampler
    found: dict[str, Schedule] = {
        "resolution": lambda step: round(batches.resolution(step).pixels ** 0.5, 1),
        "text_length": batches.text_length,
        "patch_drop": batches.patch_drop,
    }
    found |= {name: partial(batches.share, name) for name in SHARES if batches.share(name, 0) is not None}
    found |= {f"{MIXTURE}{task}": partial(_share, batches, task) for task, _ in batches.mixture(0)}
    for hook in schedule_hooks(runner):
        found |= hook.schedules
    return found


def check_schedules(runner: Runner) -> None:
    """``ValueError`` for a value of the batch sampler or of a ``ScheduleHook``, at any step of the run, that cannot be used."""
    batches, hooks = runner.train_dataloader.batch_sampler, schedule_hooks(runner)
    native = [batches] if isinstance(batches, NativeBatchSampler) else []
    schedules = [schedule for part in native for schedule in part.schedules]
    schedules += [schedule for hook in hooks for schedule in hook.schedules.values()]
    for step in turns(schedules, int(runner.train_loop.max_iters)):
        for part in native:
            part.values(step)
        for hook in hooks:
            hook.check(runner.model, step)


def _share(batches: NativeBatchSampler, task: str, step: int) -> float:
    """How large a part a task has in the mixture of a step."""
    weights = dict(batches.mixture(step))
    return weights[task] / sum(weights.values())
