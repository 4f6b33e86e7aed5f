"""Several sources in one training order, each with its share of the samples; the order stays a pure function of seed and position.

The places of the order are dealt out to the sources so that every beginning of it has the shares, within a few samples. What a
source gives are the records of its own shuffled order: it is walked through once before any of its records comes again.
"""

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import MinLen
from pydantic import NonNegativeFloat

from finevit.contracts import Record, Source
from finevit.datasets.readers.files import Skipped
from finevit.ops.stateless_shuffle import seed_of, shuffled
from finevit.registry import DATASETS
from finevit.suggest import did_you_mean

BLOCK = 1 << 16
"""Places of the order after which the dealing out begins anew: shares are multiples of 1 / 65,536."""


@DATASETS.register_module()
class Mixture(Source):
    """The records of several sources, one source after the other, and an order in which each has its share.

    Args:
        sources: name -> a source or its config.
        weights: name -> weight, of every source; None: as many as each has records, so that all are walked through together.
        captioners: which captions count in all of them, and with what weight one is drawn, where the transforms do not say.
    """

    def __init__(
        self,
        *,
        sources: Annotated[Mapping[str, Source | dict], MinLen(1), "a source for each name"],
        weights: Mapping[str, NonNegativeFloat] | None = None,
        captioners: Mapping[str, NonNegativeFloat] | None = None,
    ) -> None:
        given = {str(name): sources[name] for name in sorted(sources)}  # a config that was written has its keys in another order
        built = {name: DATASETS.build(source) if isinstance(source, dict) else source for name, source in given.items()}
        self.names, self.parts, self.captioners = tuple(built), tuple(built.values()), captioners
        for name, part in built.items():
            if getattr(part, "captioners", None) is not None:
                raise ValueError(f"sources.{name}.captioners: give the captioners of all sources together, as the mixture's")
        self._starts = [0, *accumulate(len(part) for part in self.parts)]
        self.quotas = quotas({name: len(part) for name, part in built.items()} if weights is None else weights, self.names)
        self._dealt, self._before = deal(self.quotas)
        self._own = [int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:7]) for name in self.names]
        self.skipped = _merged(self.parts)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Record:
        part, inner = self._place(index)
        return part[inner]

    def size(self, index: int) -> tuple[int, int] | None:
        """As the record's source tells it."""
        part, inner = self._place(index)
        return part.size(inner)

    def record_at(self, position: int, seed: int) -> int:
        """The record at a place of the endless order."""
        block, place = divmod(position, BLOCK)
        number = int(self._dealt[place])
        turn = block * self.quotas[number] + int(self._before[place])
        return self._starts[number] + shuffled(turn, len(self.parts[number]), seed_of(seed, self._own[number]))

    def span(self, record: int) -> range:
        """The records of the source that a record is of: one that cannot be used is replaced by one of these."""
        number = bisect_right(self._starts, record) - 1
        return range(self._starts[number], self._starts[number + 1])

    @property
    def walk(self) -> int:
        """Samples after which the first of the sources begins anew."""
        return int(min(len(part) * BLOCK / quota for part, quota in zip(self.parts, self.quotas, strict=True)))

    @property
    def rows(self) -> np.ndarray:
        """All records, ``int64 [records]``."""
        return np.arange(len(self))

    def image_at(self, row: int) -> tuple[Path, int, int] | None:
        """File, offset and bytes of a record's image, where its source can tell."""
        part, inner = self._place(row)
        tell = getattr(part, "image_at", None)
        return tell(int(part.rows[inner])) if tell else None  # type: ignore[attr-defined]

    def describe(self) -> str:
        """One line: the shares, what each source says of itself, and a hash of both, by which a resume knows a change."""
        told = [
            (name, quota / BLOCK, part.describe()) for name, quota, part in zip(self.names, self.quotas, self.parts, strict=True)
        ]
        mark = hashlib.sha256(json.dumps([BLOCK, *told]).encode("utf-8", "surrogatepass")).hexdigest()[:12]
        return f"Mixture {mark}: " + "; ".join(f"{name} {share:.4g} of the samples ({said})" for name, share, said in told)

    def _place(self, index: int) -> tuple[Source, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        number = bisect_right(self._starts, index) - 1
        return self.parts[number], index - self._starts[number]


def quotas(weights: Mapping[str, float], names: tuple[str, ...]) -> tuple[int, ...]:
    """How many of the ``BLOCK`` places each source has: its share, rounded so that they fill the block (largest remainders)."""
    if odd := next((name for name in weights if name not in names), ""):
        raise ValueError(f"weights name {odd!r}, which is no source{did_you_mean(odd, names)}; there are {', '.join(names)}")
    if absent := [name for name in names if not weights.get(name)]:
        raise ValueError(f"weights give {', '.join(absent)} no share; give each source a weight above 0, or leave it out")
    total = math.fsum(weights.values())
    exact = [weights[name] / total * BLOCK for name in names]
    if small := [name for name, share in zip(names, exact, strict=True) if share < 1]:
        raise ValueError(f"weights give {', '.join(small)} less than 1 of {BLOCK:,} samples; give more, or leave it out")
    found = [math.floor(share) for share in exact]
    for number in sorted(range(len(names)), key=lambda number: found[number] - exact[number])[: BLOCK - sum(found)]:
        found[number] += 1
    return tuple(found)


def deal(quotas: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Of each place of a block: whose it is, and how many of these were before it.

    Turn ``i`` of a source with quota ``q`` is due at ``(i + 1/2) / q`` of the block; turns come in the order in which they are due.
    """
    owners = np.repeat(np.arange(len(quotas), dtype=np.int32), quotas)
    turns = np.concatenate([np.arange(quota, dtype=np.int32) for quota in quotas])
    order = np.lexsort((owners, (turns + 0.5) / np.array(quotas)[owners]))
    return owners[order], turns[order]


def _merged(parts: tuple[Source, ...]) -> Skipped:
    """What the sources left out when they opened."""
    merged = Skipped()
    for part in parts:
        skipped = getattr(part, "skipped", None)
        merged.seen += skipped.seen if skipped else len(part)
        if skipped:
            merged.count += skipped.count
            merged.kinds.update(skipped.kinds)
            merged.listed += skipped.listed[: Skipped.kept - len(merged.listed)]
    return merged
