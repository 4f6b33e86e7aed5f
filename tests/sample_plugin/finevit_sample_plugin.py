"""A complete third-party plugin: one resolution schedule."""

from collections.abc import Mapping

from finevit.contracts import ImageBudget, ResolutionSchedule
from finevit.plugins import hookimpl


class SawtoothResolution(ResolutionSchedule):
    """The side grows by 28 pixels a step from ``low``, and starts again every ``period`` steps."""

    def __init__(self, *, low: int, period: int) -> None:
        self.low, self.period = low, period

    def __call__(self, step: int) -> ImageBudget:
        side = self.low + 28 * (step % self.period)
        return ImageBudget(side * side)


@hookimpl
def finevit_resolution_schedules() -> Mapping[str, type[ResolutionSchedule]]:
    return {"SawtoothResolution": SawtoothResolution}
