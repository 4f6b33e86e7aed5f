"""Scalar schedules: pure functions from the training step to a number (mask ratio, loss weight, ...).

Because they keep no state, resuming a run needs nothing of them, and two processes always agree. Values are numbers, or True and
False for a switch; where they may lie is for the setting to say.
"""

import math
from collections.abc import Sequence

from pydantic import NonNegativeInt, PositiveInt

from finevit.registry import SCHEDULES


@SCHEDULES.register_module()
class Constant:
    """The same value at every step."""

    def __init__(self, *, value: float | bool) -> None:
        self.value = value

    def __call__(self, step: int) -> float:
        """``value``."""
        return self.value


class _Ramp:
    """From ``begin_value`` at step ``begin`` to ``end_value`` at step ``end``, constant before and after."""

    def __init__(self, *, begin_value: float, end_value: float, end: PositiveInt, begin: NonNegativeInt = 0) -> None:
        if begin >= end:
            raise ValueError(f"begin={begin!r}, end={end!r}: a schedule needs 0 <= begin < end, in whole steps")
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

    def __init__(self, *, milestones: Sequence[tuple[NonNegativeInt, float | bool]]) -> None:
        steps = [step for step, _ in milestones]
        if steps[:1] != [0] or steps != sorted(set(steps)):
            raise ValueError(f"milestones={milestones!r}: give pairs (step, value) in ascending order of whole steps, from 0 on")
        self.milestones = tuple(milestones)

    def __call__(self, step: int) -> float:
        """The value of the last milestone at or before ``step``."""
        return [value for begin, value in self.milestones if begin <= step][-1]
