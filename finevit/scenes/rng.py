"""Random choices that are cheap, and a pure function of (seed, level, split, index, purpose)."""

from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

import numpy as np

T = TypeVar("T")
SPLITS = {"train": 0, "val": 1, "test": 2}
"""Each split draws from streams of its own, so no scene is in two of them."""


class Dice:
    """A generator for one ``purpose`` of one scene: changing how captions are worded leaves the pictures as they
    are."""

    def __init__(self, *, seed: int, level: str, split: str, index: int, purpose: int) -> None:
        entropy = (seed, crc32(level.encode()), SPLITS[split], index, purpose)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy))).random

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self._random()

    def integer(self, low: int, high: int) -> int:
        """Uniform in low ... high, both included."""
        return low + int(self._random() * (high - low + 1))

    def pick(self, choices: Sequence[T]) -> T:
        """One of them, all equally likely."""
        return choices[int(self._random() * len(choices))]

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self._random() < probability

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """A copy in random order."""
        keys = [self._random() for _ in items]
        return [items[place] for place in sorted(range(len(items)), key=keys.__getitem__)]
