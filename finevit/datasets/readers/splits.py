"""Which records a split shows: the held-out part depends on their names alone. And a compact list of names."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Annotated, overload

import numpy as np
from annotated_types import Ge, Lt

SPLITS = ("train", "val", "test", "all")
"""``val`` and ``test`` are two names of the held-out part, ``train`` is the rest, ``all`` is everything."""
Holdout = Annotated[float, Ge(0), Lt(1), "a share of the records"]


class Strings(Sequence[str]):
    """Many strings in two blocks of memory: a million names cost their bytes, and forked workers share them."""

    def __init__(self, strings: Iterable[str]):
        parts = [_bytes(string) for string in strings]
        self._text = b"".join(parts)
        self._ends = np.array([0, *accumulate(map(len, parts))], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        return self._text[self._ends[i] : self._ends[i + 1]].decode("utf-8", "surrogatepass")


def select(keys: Sequence[str], *, split: str, holdout: float) -> np.ndarray:
    """Return the positions of the records that ``split`` shows, ``int64 [records]``, in their order.

    A record is held out when the hash of its key falls into the lowest ``holdout`` of all hash values: the same on
    every machine, in any order, and when records are added later. Equal keys stay together. Of two or more different
    keys the one with the lowest hash is always held out, and the one with the highest never; with ``holdout=0``, none.

    Raises ``ValueError`` for an unknown split and a split that would be empty.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown; choose one of {', '.join(SPLITS)}")
    if split == "all":
        return np.arange(len(keys))
    rows = np.flatnonzero(_held_out(keys, holdout) == (split != "train"))
    if len(keys) and not len(rows):
        apart = "" if split == "train" else ", or give images of their own (a run: val_data_root=PATH)"
        raise ValueError(
            f"split={split!r} is empty with holdout={holdout} of {len(keys)} records; add records or change holdout{apart}"
        )
    return rows


def _held_out(keys: Sequence[str], holdout: float) -> np.ndarray:
    hashes = np.fromiter(
        (int.from_bytes(blake2b(_bytes(key), digest_size=8).digest(), "big") for key in keys), np.uint64, len(keys)
    )
    if not len(hashes) or not holdout or hashes.min() == hashes.max():
        return np.zeros(len(hashes), dtype=bool)
    held = (hashes < np.uint64(holdout * 2**64)) | (hashes == hashes.min())
    return held & (hashes != hashes.max())


def _bytes(string: str) -> bytes:
    return string.encode("utf-8", "surrogatepass")
