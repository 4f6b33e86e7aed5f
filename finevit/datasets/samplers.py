"""The stateless sampler: the training order is a pure function of (seed, position), so resuming is setting one integer.

Exact after a restart, with any number of workers, and with any number of ranks at the same global batch.
"""

import math
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, NamedTuple

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from finevit.contracts import ImageBudget, ResolutionSchedule, SampleRequest
from finevit.ops.stateless_shuffle import shuffled
from finevit.packing.length_balancing import cost, plan
from finevit.registry import DATA_SAMPLERS, build_schedule
from finevit.tasks.task import check_weights

SHARES = ("close_up",)
"""Shares of the images that a transform changes, in the order of the request."""


@DATA_SAMPLERS.register_module()
class StatelessSampler(Sampler[int]):
    """Maps a global position to the index of a record.

    Args:
        dataset: anything with a length.
        seed: order of the epochs; None (no global seed) counts as 0.
        shuffle: False gives the dataset's own order.
    """

    def __init__(self, *, dataset: Sized, seed: int | None = None, shuffle: bool = True) -> None:
        self.dataset, self.length, self.seed, self.shuffle = dataset, len(dataset), seed or 0, shuffle

    def index_at(self, position: int) -> int:
        """The record at a global position of the endless order."""
        return shuffled(position, self.length, self.seed) if self.shuffle else position % self.length

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
        text_length: a schedule's config: the most tokens of a caption, rounded; None where no text is asked for.
        patch_drop: a schedule's config: the share of each image's patches that ``DropPatches`` leaves out; None for none.
        mixture: task -> a schedule's config: how much ``AskQuestions`` asks of it; None leaves it to that transform.
        close_up: a schedule's config: the share of images that ``CropToRegion`` cuts; None leaves it to that transform.
        balance: so many neighbours in the training order, rounded down to whole steps, are shared out to their steps and ranks by
            size, so that packs are equally full and ranks equally busy (:mod:`finevit.packing.length_balancing`). A batch still has
            ``batch_size`` images on every rank. 0 takes images as they come; where sizes are not known, anything else is an error.

    ``start_step`` is the step of the next batch: the training loop sets it on resume.
    """

    def __init__(
        self,
        *,
        sampler: StatelessSampler,
        batch_size: int,
        resolution: dict,
        text_length: dict | None = None,
        patch_drop: dict | None = None,
        mixture: dict | None = None,
        close_up: dict | None = None,
        balance: int = 0,
    ) -> None:
        if not isinstance(balance, int) or isinstance(balance, bool) or balance < 0:
            raise ValueError(f"batch_sampler.balance={balance!r}: give a whole number of images, or 0 to take them as they come")
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"train_dataloader.batch_size={batch_size!r}: give a whole number of images, at least 1")
        self.sampler, self.batch_size = sampler, batch_size
        self.resolution = build_schedule("batch_sampler.resolution", resolution)
        if not isinstance(self.resolution, ResolutionSchedule):
            raise ValueError(
                f"batch_sampler.resolution.type={resolution['type']!r} is no resolution schedule, whose values are budgets"
            )
        self._text_length = _schedule("text_length", text_length)
        self._patch_drop = _schedule("patch_drop", patch_drop)
        self._mixture = {task: _schedule(f"mixture.{task}", schedule) for task, schedule in (mixture or {}).items()}
        self._shares = {"close_up": _schedule("close_up", close_up)}
        self.start_step = 0
        self.rank, self.world_size = get_dist_info()
        self.window = max(1, balance // (batch_size * self.world_size)) if balance else 0
        self._planned: _Window | None = None
        self.values(0)

    @property
    def schedules(self) -> list[Callable[[int], Any]]:
        """Everything here that is a function of the step."""
        optional = (self._text_length, self._patch_drop, *self._mixture.values(), *self._shares.values())
        return [self.resolution, *(schedule for schedule in optional if schedule)]

    def values(self, step: int) -> tuple[ImageBudget, int, float, tuple[tuple[str, float], ...], float | None]:
        """What the requests of a step carry, in their order; ``ValueError`` for a value that cannot be used."""
        shares = (self.share(name, step) for name in self._shares)
        return self.resolution(step), self.text_length(step), self.patch_drop(step), self.mixture(step), *shares

    def text_length(self, step: int) -> int:
        """The most tokens of a caption at a step, 0 without text."""
        if self._text_length is None:
            return 0
        value = self._text_length(step)
        if not isinstance(value, int | float) or not math.isfinite(value) or round(value) < 1:
            raise ValueError(f"batch_sampler.text_length is {value!r} at step {step}: give a schedule of at least 1 token")
        return round(value)

    def patch_drop(self, step: int) -> float:
        """The share of patches that is left out at a step."""
        value = 0.0 if self._patch_drop is None else self._patch_drop(step)
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise ValueError(f"batch_sampler.patch_drop is {value!r} at step {step}: give a schedule of shares, from 0 to below 1")
        return float(value)

    def mixture(self, step: int) -> tuple[tuple[str, float], ...]:
        """The weights of the tasks at a step; empty where the transform has its own."""
        values = {task: schedule(step) for task, schedule in self._mixture.items() if schedule}
        return tuple(check_weights(f"batch_sampler.mixture at step {step}", values).items()) if values else ()

    def share(self, name: str, step: int) -> float | None:
        """The share of images that a transform changes at a step (``close_up``); None where it has its own."""
        schedule = self._shares[name]
        if schedule is None:
            return None
        value = schedule(step)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"batch_sampler.{name} is {value!r} at step {step}: give a schedule of shares, from 0 to 1")
        return float(value)

    def requests(self, step: int) -> list[SampleRequest]:
        """The batch of this rank at a step."""
        values = self.values(step)
        return [SampleRequest(self.sampler.index_at(p), p, *values) for p in self.positions(step)[self.rank]]

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


def _schedule(setting: str, config: dict | None) -> Callable[[int], Any] | None:
    """The schedule of a config, None for none."""
    return None if config is None else build_schedule(f"batch_sampler.{setting}", config)
