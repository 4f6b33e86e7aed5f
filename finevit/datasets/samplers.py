"""The stateless sampler: the training order is a pure function of (seed, position), so resuming is setting one integer.

Exact after a restart, with any number of workers, and with any number of ranks at the same global batch.
"""

from collections.abc import Iterator, Sized

from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from finevit.contracts import ResolutionSchedule, SampleRequest
from finevit.ops.order import shuffled
from finevit.registry import DATA_SAMPLERS, SCHEDULES


@DATA_SAMPLERS.register_module()
class StatelessSampler(Sampler[int]):
    """Maps a global position to the index of a record.

    Args:
        dataset: anything with a length.
        seed: order of the epochs; None (no global seed) counts as 0.
        shuffle: False gives the dataset's own order.
    """

    def __init__(self, *, dataset: Sized, seed: int | None = None, shuffle: bool = True) -> None:
        self.length, self.seed, self.shuffle = len(dataset), seed or 0, shuffle

    def index_at(self, position: int) -> int:
        """The record at a global position of the endless order."""
        return shuffled(position, self.length, self.seed) if self.shuffle else position % self.length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return (self.index_at(position) for position in range(self.length))


@DATA_SAMPLERS.register_module()
class NativeBatchSampler(Sampler[list[SampleRequest]]):
    """Endless batches of requests, each carrying the resolution budget of its step to the worker.

    Args:
        sampler: a :class:`StatelessSampler`.
        batch_size: images of a batch on one rank.
        resolution: a resolution schedule's config.

    ``start_step`` is the step of the next batch: the training loop sets it on resume.
    """

    def __init__(self, *, sampler: StatelessSampler, batch_size: int, resolution: dict) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"train_dataloader.batch_size={batch_size!r}: give a whole number of images, at least 1")
        self.sampler, self.batch_size = sampler, batch_size
        self.resolution = SCHEDULES.build(resolution)
        if not isinstance(self.resolution, ResolutionSchedule):
            raise ValueError(
                f"batch_sampler.resolution.type={resolution['type']!r} is no resolution schedule, whose values are budgets"
            )
        self.start_step = 0
        self.rank, self.world_size = get_dist_info()

    def requests(self, step: int) -> list[SampleRequest]:
        """The batch of this rank at a step."""
        first = (step * self.world_size + self.rank) * self.batch_size
        budget = self.resolution(step)
        return [SampleRequest(self.sampler.index_at(p), p, budget) for p in range(first, first + self.batch_size)]

    def __len__(self) -> int:
        """Batches of an epoch, rounded up."""
        return -(-len(self.sampler) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        step = self.start_step
        while True:
            yield self.requests(step)
            step += 1
