"""Resolution schedules: the side of a square with as many pixels as an image may have, as a function of the step.

Stage I trains at a constant 256 x 256, Stage II grows from 336^2 to 448^2 pixels (paper, training recipe).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from annotated_types import Ge
from pydantic import NonNegativeInt, PositiveInt

from finevit.contracts import PATCH, ImageBudget, ResolutionSchedule

Side = Annotated[int, Ge(2 * PATCH), "a side of two patches in pixels"]


class ConstantResolution(ResolutionSchedule):
    """The same budget at every step."""

    def __init__(self, *, side: Side, square: bool = False) -> None:
        self.budget = ImageBudget(side * side, square)

    def __call__(self, step: int) -> ImageBudget:
        """``side ** 2`` pixels."""
        return self.budget


class LinearResolution(ResolutionSchedule):
    """The side moves linearly from ``begin_side`` at step ``begin`` to ``end_side`` at ``end``, then stays."""

    def __init__(
        self, *, begin_side: Side, end_side: Side, end: PositiveInt, begin: NonNegativeInt = 0, square: bool = False
    ) -> None:
        if begin >= end:
            raise ValueError(f"begin={begin}, end={end}: the schedule needs 0 <= begin < end, in steps")
        self.begin_side, self.end_side, self.begin, self.end, self.square = begin_side, end_side, begin, end, square

    def __call__(self, step: int) -> ImageBudget:
        """The square of the interpolated side, rounded to whole pixels."""
        progress = min(max((step - self.begin) / (self.end - self.begin), 0.0), 1.0)
        side = round(self.begin_side + progress * (self.end_side - self.begin_side))
        return ImageBudget(side * side, self.square)


class StepResolution(ResolutionSchedule):
    """``milestones`` are pairs ``(step, side)``: from that step on, that side. The first step is 0."""

    def __init__(self, *, milestones: Sequence[tuple[NonNegativeInt, Side]], square: bool = False) -> None:
        steps = [step for step, _ in milestones]
        if steps[:1] != [0] or steps != sorted(set(steps)):
            raise ValueError(f"milestones={milestones}: give (step, side) pairs in ascending order of steps, the first at step 0")
        self.milestones, self.square = tuple(milestones), square

    def __call__(self, step: int) -> ImageBudget:
        """The square of the side of the last milestone at or before ``step``."""
        side = max((milestone for milestone in self.milestones if milestone[0] <= step), default=self.milestones[0])[1]
        return ImageBudget(side * side, self.square)


SCHEDULES: Mapping[str, type[ResolutionSchedule]] = {
    "ConstantResolution": ConstantResolution,
    "LinearResolution": LinearResolution,
    "StepResolution": StepResolution,
}
