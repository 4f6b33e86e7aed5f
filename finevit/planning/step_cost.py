"""What a training step costs on this device: a few real ones, and a line through them (seconds and memory over FLOPs)."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper

from finevit.planning.memory import free, held, peak, reset_peak

LONGEST = 8.0
"""No step is tried that would take more seconds than this, unless it is one of a single image."""
REPEATS = 3
GROWTH = 4
APART = 3
"""Where steps differ by less than this in FLOPs, noise would decide what is left at none."""


class Trial(NamedTuple):
    """A step that can be tried: ``batch(images)`` is a batch of so many, ``flops`` what one image costs."""

    step: int
    batch: Callable[[int], dict[str, Any]]
    flops: float


class Measured(NamedTuple):
    """What a step of so many images took: seconds, and bytes at its peak."""

    step: int
    images: int
    flops: float
    seconds: float
    memory: int


class Calibration(NamedTuple):
    """The steps that were run, and what was held before the first one: ``resting`` bytes."""

    measured: list[Measured]
    resting: int


class Line(NamedTuple):
    """``base + slope * flops``; neither is negative."""

    base: float
    slope: float

    def __call__(self, flops: float) -> float:
        """The value at so many FLOPs."""
        return self.base + self.slope * flops


def fit(flops: Sequence[float], values: Sequence[float], *, base: bool = True) -> Line:
    """The line of least squares; through the origin without ``base``, or where close points or noise tell nothing of it."""
    x, y = np.asarray(flops, dtype=float), np.asarray(values, dtype=float)
    if base and x.max() > APART * x.min():
        slope, start = np.polyfit(x, y, 1)
        if slope >= 0 and start >= 0:
            return Line(float(start), float(slope))
    return Line(0.0, float((x @ y) / (x @ x)))


@contextmanager
def same_parts(model: BaseModel, images: int, batch_size: int) -> Iterator[None]:
    """Fewer images are accumulated in as many parts as the full batch would be (``micro_batch`` of a stage that has one)."""
    whole = getattr(model, "micro_batch", None)
    if whole:
        model.micro_batch = max(1, whole * images // batch_size)
    try:
        yield
    finally:
        if whole:
            model.micro_batch = whole


def calibrate(
    model: BaseModel,
    optim_wrapper: OptimWrapper,
    cheap: Trial,
    dear: Trial,
    *,
    batch_size: int,
    prepare: Callable[[int], object],
    progress: Callable[[str], None],
) -> Calibration:
    """Real steps of growing batches at the cheapest point of the plan, then one of the dearest.

    ``prepare(step)`` brings the model into the state of a step. Batches stop growing where time or memory would run out. Learning
    rates are zero, so that weights stay what they are, and each step updates them, as the last one of an accumulation does.
    """
    optim_wrapper._accumulative_counts = 1
    for group in optim_wrapper.optimizer.param_groups:
        group["lr"] = 0.0
    tries = _Tries(model, optim_wrapper, batch_size, prepare, progress)
    found = [tries.measure(cheap, 1)]
    while (images := tries.affordable(found[-1])) > found[-1].images:
        found.append(tries.measure(cheap, images))
    if dear.flops > cheap.flops:
        found.append(tries.measure(dear, max(1, tries.affordable(found[-1], dear.flops / cheap.flops))))
    return Calibration(found, tries.resting)


class _Tries:
    """Runs training steps and takes their time and memory."""

    def __init__(
        self,
        model: BaseModel,
        optim_wrapper: OptimWrapper,
        batch_size: int,
        prepare: Callable[[int], object],
        progress: Callable[[str], None],
    ) -> None:
        self.model, self.optim_wrapper, self.batch_size = model.train(), optim_wrapper, batch_size
        self.prepare, self.progress = prepare, progress
        self.device = next(model.parameters()).device
        self.resting = held(self.device)

    def affordable(self, last: Measured, dearer: float = 1.0) -> int:
        """How many images to try next, each so many times as dear: likely to fit into the time, and into half of the memory."""
        spent = max(last.memory - self.resting, 1)
        growth = min(GROWTH, LONGEST / last.seconds, free(self.device) / 2 / spent)
        return min(self.batch_size, int(last.images * growth / dearer))

    def measure(self, trial: Trial, images: int) -> Measured:
        """The median of a few steps, after a first one that does not count (where it does not take too long)."""
        self.progress(f"a real step of {images} image{'s' * (images > 1)}, as at step {trial.step:,}")
        self.prepare(trial.step)
        batch = trial.batch(images)
        reset_peak(self.device)
        with same_parts(self.model, images, self.batch_size):
            times = [self._step(batch)]
            while sum(times) < LONGEST and len(times) <= REPEATS:
                times.append(self._step(batch))
        return Measured(trial.step, images, trial.flops * images, median(times[1:] or times), peak(self.device))

    def _step(self, batch: dict[str, Any]) -> float:
        begin = time.perf_counter()
        self.model.train_step(batch, self.optim_wrapper)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - begin
