"""How fast a run is, how full its packs are, and how much of the encoder's work attention takes."""

import time
from collections.abc import Iterator, Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner

from finevit.datasets.samplers import NativeBatchSampler
from finevit.registry import HOOKS
from finevit.unwrap import unwrapped

EXPLAINED = (
    "fill: the patches of a batch over those of the run's largest yet; attention_share: what attention takes of the encoder's "
    "FLOPs; imbalance: how much more the dearest rank has to do than the mean"
)


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Logs ``images_per_s`` and ``patches_per_s`` of all ranks, between the ends of two iterations (data loading included).

    And of this rank's pack ``fill``, its patches over those of the run's largest yet, and ``attention_share``, how much of the
    encoder's FLOPs attention takes; of balanced batches ``imbalance``, how much more the dearest rank has to do than the mean.
    The log file explains them before their first line.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._largest = 0

    def before_train(self, runner: Runner) -> None:
        self._last = None
        runner.logger.info(EXPLAINED)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._last = None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        now = time.perf_counter()
        for name, value in self._values(runner, now, data_batch["images"].seqlens if data_batch else ()):
            runner.message_hub.update_scalar(f"train/{name}", value)
        self._last = now

    def _values(self, runner: Runner, now: float, lengths: Sequence[int]) -> Iterator[tuple[str, float]]:
        if not lengths:
            return
        patches, squares = sum(lengths), sum(length**2 for length in lengths)
        if self._last is not None:
            yield "images_per_s", len(lengths) * runner.world_size / (now - self._last)
            yield "patches_per_s", patches * runner.world_size / (now - self._last)
        self._largest = max(self._largest, patches)
        yield "fill", patches / self._largest
        if pair_cost := getattr(getattr(unwrapped(runner.model), "backbone", None), "pair_cost", 0.0):
            yield "attention_share", squares * pair_cost / (squares * pair_cost + patches)
        batches = runner.train_dataloader.batch_sampler
        if runner.world_size > 1 and isinstance(batches, NativeBatchSampler):
            imbalance = batches.imbalance(runner.iter)
            yield from () if imbalance is None else (("imbalance", imbalance),)
