"""Which images share a step and a rank, planned from their sizes: all packs equally full, all ranks equally busy."""

from collections.abc import Sequence

import numpy as np

PAIRS = 1e-4
"""What a pair of patches costs in attention, in units of what a patch costs in all matrices: 4 dim / (26 dim^2) of FineViT-L."""


def cost(patches: np.ndarray) -> np.ndarray:
    """What images of so many patches cost an encoder, in patches: ``L + PAIRS * L^2``."""
    return patches + PAIRS * patches.astype(float) ** 2


def partition(patches: Sequence[int], parts: int) -> list[list[int]]:
    """Shares images out to ``parts`` of equally many, whose patches and costs add up to nearly the same: indices of each part.

    In rounds, from the largest images to the smallest: in each round the part with the least so far gets the largest image.
    ``ValueError`` where the images cannot be shared out evenly.
    """
    if len(patches) % parts:
        raise ValueError(f"{len(patches)} images cannot be shared out evenly to {parts} parts")
    amounts = np.stack([np.asarray(patches, float), cost(np.asarray(patches))])
    amounts /= amounts.sum(1, keepdims=True)
    order = np.argsort(-amounts[1], kind="stable").reshape(-1, parts)
    held, found = np.zeros(parts), np.empty_like(order.T)
    for number, images in enumerate(order):
        emptiest = np.argsort(held, kind="stable")
        found[emptiest, number] = images
        held[emptiest] += amounts[:, images].sum(0)
    return found.tolist()


def plan(patches: Sequence[int], *, steps: int, ranks: int) -> list[list[list[int]]]:
    """Of each step, of each rank, the indices of its images; which step an image is in does not depend on the number of ranks."""
    images = np.asarray(patches)
    by_step = (np.asarray(step) for step in partition(patches, steps))
    return [[step[rank].tolist() for rank in partition(images[step], ranks)] for step in by_step]
