"""How evenly images are shared out: the fill of packs, and the balance of ranks, by arithmetic on the sizes of images alone."""

from collections.abc import Sequence

import numpy as np

from benchmarks.speed.work import Size, forward_flops
from finevit.ops.patches import snapped_size
from finevit.packing.length_balancing import plan

Assignment = list[list[list[int]]]
"""Of each step, of each rank, the patches of its images."""


def fill(plan: Assignment) -> float:
    """Patches over the room of packs that are all as large as the largest: what a step of constant shape would compute in vain."""
    packs = [sum(pack) for step in plan for pack in step]
    return sum(packs) / (len(packs) * max(packs))


def imbalance(plan: Assignment, size: Size) -> float:
    """How much longer a step takes than if all ranks had equally much to do: the mean over steps of the dearest over the mean."""
    costs = np.array([[forward_flops(size, [(1, patches) for patches in pack]) for pack in step] for step in plan], float)
    return float((costs.max(1) / costs.mean(1)).mean() - 1)


def in_order(lengths: Sequence[int], ranks: int, batch: int) -> Assignment:
    """As the batch sampler does it without ``balance``: each rank takes the next ``batch`` images; an incomplete step is left."""
    packs = [list(lengths[start : start + batch]) for start in range(0, len(lengths) - batch + 1, batch)]
    return [packs[start : start + ranks] for start in range(0, len(packs) - ranks + 1, ranks)]


def balanced(lengths: Sequence[int], ranks: int, batch: int, window: int) -> Assignment:
    """As the batch sampler does it with ``balance``: windows of so many images are shared out to their steps and ranks by size."""
    steps = window // (batch * ranks)
    count, made = steps * batch * ranks, []
    for first in range(0, len(lengths) - count + 1, count):
        here = lengths[first : first + count]
        made += [[[here[place] for place in rank] for rank in step] for step in plan(here, steps=steps, ranks=ranks)]
    return made


def native_lengths(count: int, pixels: int, patch: int, *, seed: int = 0) -> list[int]:
    """Patches of images like those of people, reduced to at most ``pixels``.

    Their areas are from 0.05 to 4 megapixels, their aspect ratios from 1:2 to 2:1, spread evenly in the logarithm.
    """
    rng = np.random.default_rng(seed)
    areas, aspects = np.exp(rng.uniform(np.log(5e4), np.log(4e6), count)), np.exp(rng.uniform(-np.log(2), np.log(2), count))
    heights, widths = np.sqrt(areas / aspects).round().astype(int), np.sqrt(areas * aspects).round().astype(int)
    sizes = (snapped_size(int(height), int(width), pixels=pixels) for height, width in zip(heights, widths, strict=True))
    return [height * width // patch**2 for height, width in sizes]
