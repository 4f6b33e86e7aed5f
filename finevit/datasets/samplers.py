"""The stateless sampler: the training order is a pure function of (seed, position), so resuming is setting one integer.

Exact after a restart, with any number of workers, and with any number of ranks at the same global batch.
"""

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge
from mmengine.dist import get_dist_info
from pydantic import PositiveInt
from torch.utils.data import Sampler

from finevit.contracts import ImageBudget, ResolutionSchedule, SampleRequest
from finevit.datasets.schedules import Schedule, build_schedules, nested, rounded, unfit
from finevit.ops.stateless_shuffle import shuffled
from finevit.packing.length_balancing import cost, plan
from finevit.registry import DATA_SAMPLERS, build_schedule


@DATA_SAMPLERS.register_module()
class StatelessSampler(Sampler[int]):
    """Maps a global position to the index of a record.

    Args:
        dataset: anything with a length; where it has a ``record_at(position, seed)``, that is the order.
        seed: order of the epochs; None (no global seed) counts as 0.
        shuffle: False gives the dataset's own order.
    """

    def __init__(self, *, dataset: Sized, seed: int | None = None, shuffle: bool = True) -> None:
        self.dataset, self.length, self.seed, self.shuffle = dataset, len(dataset), seed or 0, shuffle

    def index_at(self, position: int) -> int:
        """The record at a global position of the endless order."""
        if not self.shuffle:
            return position % self.length
        own = getattr(self.dataset, "record_at", None)
        return own(position, self.seed) if own else shuffled(position, self.length, self.seed)

    def patches_at(self, position: int, budget: ImageBudget) -> int | None:
        """Patches that the record at a position has with a budget, told without reading its image; None where not known."""
        tell = getattr(self.dataset, "patches", None)
        return tell(self.index_at(position), budget) if tell else None

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return (self.index_at(position) for position in range(self.length))


class _Window(NamedTuple):
    """The first place in the training order, the images' patches, and of each step, of each rank, the indices of its images."""

    first: int
    patches: list[int]
    steps: list[list[list[int]]]


@DATA_SAMPLERS.register_module()
class NativeBatchSampler(Sampler[list[SampleRequest]]):
    """Endless batches of requests, each carrying the values of its step's schedules to the worker.

    Args:
        sampler: a :class:`StatelessSampler`.
        batch_size: images of a batch on one rank.
        resolution: a resolution schedule's config.
        schedules: transform -> argument -> a schedule's config, such as ``dict(Tokenize=dict(max_seq_len=dict(type="Linear")))``;
            of an argument that is a mapping, each item has its own (:mod:`finevit.datasets.schedules`).
        balance: so many neighbours in the training order, rounded down to whole steps, are shared out to their steps and ranks by
            size, so that packs are equally full and ranks equally busy (:mod:`finevit.packing.length_balancing`). A batch still has
            ``batch_size`` images on every rank. 0 takes images as they come; where sizes are not known, anything else is an error.

    ``start_step`` is the step of the next batch: the training loop sets it on resume.
    """

    def __init__(
        self,
        *,
        sampler: StatelessSampler,
        batch_size: PositiveInt,
        resolution: dict,
        schedules: dict[str, dict | None] | None = None,
        balance: Annotated[int, Ge(0), "a whole number of images (0: as they come)"] = 0,
    ) -> None:
        self.sampler, self.batch_size = sampler, batch_size
        self.resolution = build_schedule("batch_sampler.resolution", resolution)
        if not isinstance(self.resolution, ResolutionSchedule):
            raise ValueError(
                f"batch_sampler.resolution.type={resolution['type']!r} is no resolution schedule, whose values are budgets"
            )
        self.transforms: Mapping[str, Mapping[str, bool]] | None = getattr(sampler.dataset, "schedulable", None)
        for name, problem in unfit(schedules or {}, self.transforms) if self.transforms is not None else ():
            raise ValueError(f"batch_sampler.schedules.{name} {problem}")
        self.schedules: dict[str, Schedule] = build_schedules(schedules)
        self.start_step = 0
        self.rank, self.world_size = get_dist_info()
        self.window = max(1, balance // (batch_size * self.world_size)) if balance else 0
        self._planned: _Window | None = None
        self.check(0)

    def value(self, name: str, step: int) -> Any:
        """What a schedule, by its dotted name, gives its argument at a step."""
        transform, argument, *_ = name.split(".")
        value = self.schedules[name](step)
        return rounded(value) if (self.transforms or {}).get(transform, {}).get(argument) else value

    def values(self, step: int) -> dict[str, dict[str, Any]]:
        """What the requests of a step carry: transform -> argument -> value."""
        return nested({name: self.value(name, step) for name in self.schedules})

    def check(self, step: int) -> None:
        """``ValueError`` for a value of a step that its transform refuses."""
        dataset = self.sampler.dataset
        for transform, arguments in self.values(step).items() if self.transforms is not None else ():
            for argument, value in arguments.items():
                try:
                    dataset.transforms_at({transform: {argument: value}})  # type: ignore[attr-defined]
                except (ValueError, TypeError) as error:
                    name = f"batch_sampler.schedules.{transform}.{argument}"
                    raise ValueError(f"{name} is {value!r} at step {step}: {error}") from error

    def requests(self, step: int) -> list[SampleRequest]:
        """The batch of this rank at a step."""
        budget, values = self.resolution(step), self.values(step)
        return [SampleRequest(self.sampler.index_at(p), p, budget, values) for p in self.positions(step)[self.rank]]

    def positions(self, step: int) -> list[list[int]]:
        """Of each rank, the places of its images in the training order."""
        if self.window:
            window = self._balanced(step // self.window)
            return [[window.first + place for place in rank] for rank in window.steps[step % self.window]]
        first = step * self.world_size * self.batch_size
        starts = (first + rank * self.batch_size for rank in range(self.world_size))
        return [list(range(start, start + self.batch_size)) for start in starts]

    def imbalance(self, step: int) -> float | None:
        """How much more the dearest rank has to do at a step than the mean, by the planned sizes; None where none are planned."""
        if not self.window:
            return None
        window = self._balanced(step // self.window)
        costs = [cost(np.array([window.patches[place] for place in rank])).sum() for rank in window.steps[step % self.window]]
        return float(max(costs) / np.mean(costs) - 1)

    def _balanced(self, window: int) -> _Window:
        """The plan of a window; the one asked for last is kept. Sizes are those at the window's first step."""
        count = self.window * self.world_size * self.batch_size
        if self._planned is None or self._planned.first != window * count:
            patches = self._patches(range(window * count, (window + 1) * count), self.resolution(window * self.window))
            self._planned = _Window(window * count, patches, plan(patches, steps=self.window, ranks=self.world_size))
        return self._planned

    def _patches(self, positions: Sequence[int], budget: ImageBudget) -> list[int]:
        """Patches of records without reading them; those that are not known count as the largest that are."""
        told = [self.sampler.patches_at(position, budget) for position in positions]
        known = [patches for patches in told if patches]
        if not known:
            data = getattr(self.sampler.dataset, "describe", lambda: type(self.sampler.dataset).__name__)()
            raise ValueError(
                f"batch_sampler.balance: of {data}, the sizes of {len(positions):,} images in a row are not known; "
                "set it to 0, or give its source a method size(index)"
            )
        return [patches or max(known) for patches in told]

    def __len__(self) -> int:
        """Batches of an epoch, rounded up."""
        return -(-len(self.sampler) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        step = self.start_step
        while True:
            yield self.requests(step)
            step += 1
