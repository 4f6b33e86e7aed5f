"""Schedules that act in the loader's workers: an argument of a transform as a function of the step.

A transform names in ``scheduled`` the arguments that may change during a run, and knows no more of it::

    class DropPatches:
        scheduled = ("ratio",)

A config gives them schedules by transform and argument, as ``dict(DropPatches=dict(ratio=dict(type="Linear")))``. The batch
sampler computes the values of a step, each request carries them to the worker, and there the dataset builds the transform anew with
them: a value acts as if the config said it, and the constructor checks it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args, get_type_hints

from finevit.registry import build_schedule
from finevit.suggest import did_you_mean

Schedule = Callable[[int], Any]


def build_schedules(config: Any, name: str = "") -> dict[str, Schedule]:
    """Dotted name (``Tokenize.max_seq_len``, ``AskQuestions.task_weights.counting``) -> schedule; None in the config is none."""
    if config is None:
        return {}
    if isinstance(config, Mapping) and "type" not in config:
        inner = [build_schedules(value, f"{name}.{key}".lstrip(".")) for key, value in config.items()]
        return {key: schedule for part in inner for key, schedule in part.items()}
    return {name: build_schedule(f"batch_sampler.schedules.{name}".rstrip("."), config)}


def nested(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Values by dotted name -> transform -> argument -> value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        place = found
        *parents, last = name.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return found


def schedulable(component: Any) -> dict[str, bool]:
    """The arguments of a transform that may be scheduled, and of each whether it takes whole numbers alone."""
    names = getattr(component, "scheduled", ())
    hints = get_type_hints(component.__init__) if names else {}
    return {name: int in (kinds := {hints.get(name), *get_args(hints.get(name))}) and float not in kinds for name in names}


def rounded(value: Any) -> Any:
    """A value for an argument that takes whole numbers alone; what is no finite number is left for the transform to refuse."""
    return round(value) if isinstance(value, float) and math.isfinite(value) else value


def unfit(schedules: Mapping, transforms: Mapping[str, Mapping[str, bool]]) -> Iterator[tuple[str, str]]:
    """What is wrong with schedules in a loader of these transforms, each with what of it may be scheduled: dotted name, and why."""
    for name, arguments in schedules.items():
        if arguments is not None and name not in transforms:
            hint = did_you_mean(name, transforms)
            yield name, f"has no effect without {name}: add it to dataset.transforms{hint}; {_others(transforms)}"
        for argument in arguments if isinstance(arguments, Mapping) and name in transforms else ():
            if argument not in (known := transforms[name]):
                hint = did_you_mean(argument, known)
                choices = f"these may: {', '.join(known)}" if known else _others(transforms)
                own = f"the class attribute {name}.scheduled names its own"
                yield f"{name}.{argument}", f"is no argument of {name} that may be scheduled{hint}; {choices} ({own})"


def _others(transforms: Mapping[str, Mapping[str, bool]]) -> str:
    names = [f"{name}.{argument}" for name, known in transforms.items() for argument in known]
    return f"of this loader these may be scheduled: {', '.join(names) or 'none'}"
