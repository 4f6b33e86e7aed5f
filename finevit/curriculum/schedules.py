"""Scalar schedules: pure functions from the training step to a number (mask ratio, loss weight, ...).

Because they keep no state, resuming a run needs nothing of them, and two processes always agree. Values are numbers, or True and
False for a switch; where they may lie is for the setting to say.
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from finevit.registry import SCHEDULES


@SCHEDULES.register_module()
class Constant:
    """The same value at every step."""

    def __init__(self, *, value: float) -> None:
        _check("value", value)
        self.value = value

    def __call__(self, step: int) -> float:
        """``value``."""
        return self.value


class _Ramp:
    """From ``begin_value`` at step ``begin`` to ``end_value`` at step ``end``, constant before and after."""

    def __init__(self, *, begin_value: float, end_value: float, end: int, begin: int = 0) -> None:
        if not (_whole(begin) and _whole(end) and 0 <= begin < end):
            raise ValueError(f"begin={begin!r}, end={end!r}: a schedule needs 0 <= begin < end, in whole steps")
        _check("begin_value", begin_value)
        _check("end_value", end_value)
        self.begin_value, self.end_value, self.begin, self.end = begin_value, end_value, begin, end

    def progress(self, step: int) -> float:
        """How far between ``begin`` and ``end``, in [0, 1]."""
        return min(max((step - self.begin) / (self.end - self.begin), 0.0), 1.0)


@SCHEDULES.register_module()
class Linear(_Ramp):
    """A line from ``begin_value`` at step ``begin`` to ``end_value`` at ``end``, constant before and after."""

    def __call__(self, step: int) -> float:
        """The value at a step."""
        return self.begin_value + self.progress(step) * (self.end_value - self.begin_value)


@SCHEDULES.register_module()
class Cosine(_Ramp):
    """Half a cosine from ``begin_value`` at step ``begin`` to ``end_value`` at ``end``, constant around it."""

    def __call__(self, step: int) -> float:
        """The value at a step."""
        return self.begin_value + (1 - math.cos(math.pi * self.progress(step))) / 2 * (self.end_value - self.begin_value)


@SCHEDULES.register_module()
class Milestones:
    """``milestones`` are pairs ``(step, value)``: from that step on, that value. The first step is 0."""

    def __init__(self, *, milestones: Sequence[tuple[int, float | bool]]) -> None:
        steps = _steps(milestones)
        if steps[:1] != [0] or steps != sorted(set(steps)):
            raise ValueError(f"milestones={milestones!r}: give pairs (step, value) in ascending order of whole steps, from 0 on")
        for step, value in milestones:
            _check(f"the milestone at step {step}: value", value)
        self.milestones = tuple(milestones)

    def __call__(self, step: int) -> float:
        """The value of the last milestone at or before ``step``."""
        return [value for begin, value in self.milestones if begin <= step][-1]


def _steps(milestones: Any) -> list[int]:
    """The steps of milestones; none where they are no pairs, or no whole numbers."""
    pairs = list(milestones) if isinstance(milestones, list | tuple) else []
    sound = all(isinstance(pair, list | tuple) and len(pair) == 2 and _whole(pair[0]) for pair in pairs)
    return [step for step, _ in pairs] if sound else []


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check(setting: str, value: Any) -> None:
    if not isinstance(value, Real):
        raise ValueError(f"{setting}={value!r}: give a number, or True or False for a switch")
