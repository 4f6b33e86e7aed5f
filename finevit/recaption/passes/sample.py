"""Class-balanced sampling of regions (paper, FineCap step 4): frequent classes are capped, rare ones are all kept.

A region's fate is a hash of its id against its class's count over all shards: the same in whatever order shards come, and undone by
``keep_prob``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import NonNegativeInt, PositiveInt

from finevit.recaption.passes.base import Inputs, Output, Pass
from finevit.recaption.passes.suppress import SUPPRESSED
from finevit.registry import PASSES

SAMPLED = pa.schema([*SUPPRESSED, ("keep_prob", pa.float32()), ("kept", pa.bool_()), ("class_id", pa.int32())])


@PASSES.register_module()
class ClassBalancedSampling(Pass):
    """Of each class at most ``cap`` regions, those whose hashes are the smallest.

    Args:
        cap: most regions of a class in the whole run (paper: 100,000 a batch).
        rare: classes with fewer regions are all kept, whatever the cap (paper: 1,000).
    """

    name = "sample"
    reads = ("suppress",)

    def __init__(self, *, cap: PositiveInt = 100_000, rare: NonNegativeInt = 1000) -> None:
        self.cap, self.rare = cap, rare

    def gather(self, parts: Iterable[tuple[str, Inputs]]) -> Mapping[str, Any]:
        """Of each shard, for each of its classes: its number among all, the count, and the largest hash that is kept."""
        counts, smallest = Counter[str](), defaultdict[str, np.ndarray](lambda: np.empty(0, np.uint64))
        classes: dict[str, set[str]] = {}
        for shard, inputs in parts:
            hashes = defaultdict[str, list[int]](list)
            for row in inputs.rows("suppress", "regions"):
                if not row["reasons"]:
                    hashes[row["class_name"]].append(_hash(row["region_id"]))
            classes[shard] = set(hashes)
            for name, found in hashes.items():
                counts[name] += len(found)
                smallest[name] = np.sort(np.append(smallest[name], np.array(found, np.uint64)))[: self.cap]
        numbers = {name: number for number, name in enumerate(sorted(counts))}
        facts = {name: [numbers[name], counts[name], self._last(counts[name], smallest[name])] for name in counts}
        return {shard: {name: facts[name] for name in sorted(names)} for shard, names in classes.items()}

    def _last(self, count: int, smallest: np.ndarray) -> str | None:
        """The largest hash that is kept, as a text; None where all are."""
        return None if count <= max(self.cap, self.rare - 1) else f"{int(smallest[-1]):016x}"

    def process_shard(self, inputs: Inputs) -> Output:
        """The table ``regions``: whether each is kept, with ``keep_prob``, and why not."""
        rows, counts = inputs.rows("suppress", "regions"), Counter[str]()
        for row in rows:
            number, count, last = inputs.shared.get(row["class_name"], (-1, 0, None))
            sampled = last is None or _hash(row["region_id"]) <= int(last, 16)
            row |= {"class_id": number, "keep_prob": 1.0 if last is None else self.cap / count}
            row["kept"] = not row["reasons"] and sampled
            if not row["reasons"] and not sampled:
                row["reasons"] = [f"sampled: the class has more than {self.cap} regions"]
            counts[row["reasons"][0].partition(":")[0] if row["reasons"] else "kept"] += 1
        return Output({"regions": pa.Table.from_pylist(rows, schema=SAMPLED)}, counts)


def _hash(region: str) -> int:
    """64 bits of an id, which is a hash already."""
    return int(region[:16], 16)
