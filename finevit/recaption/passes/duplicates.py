"""Images that are nearly the same as another one: of each group one stays."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Le

from finevit.recaption.passes.base import VERDICTS, Inputs, Output, Pass
from finevit.recaption.quality import near_duplicates
from finevit.registry import PASSES


@PASSES.register_module()
class NearDuplicates(Pass):
    """Rejects all but one of a group of images whose perceptual hashes (64 bits of a DCT) are near each other.

    The one with the smallest sample id stays, whatever the order of images and shards.

    Args:
        max_distance: bits in which the hashes of near duplicates differ at most.
    """

    name = "duplicates"
    reads = ("index",)
    uses = ("quality",)

    def __init__(self, *, max_distance: Annotated[int, Ge(0), Le(16)] = 3) -> None:
        self.max_distance = max_distance

    def gather(self, parts: Iterable[tuple[str, Inputs]]) -> Mapping[str, Any]:
        """Of each shard the rows that are duplicates, and of which image."""
        places, hashes, ids = [], [], []
        shards = set()
        for shard, inputs in parts:
            shards.add(shard)
            gone = {row["row"] for row in inputs.rows("quality", "verdicts") if row["verdict"] == "rejected"}
            for entry in inputs.rows("index", "images"):
                if entry["verdict"] == "kept" and entry["row"] not in gone:
                    places.append((shard, entry["row"]))
                    hashes.append(int(entry["phash"], 16))
                    ids.append(entry["sample_id"])
        groups = near_duplicates(np.array(hashes, dtype=np.uint64), max_distance=self.max_distance)
        first: dict[int, tuple] = {}
        for group, sample, place in zip(groups.tolist(), ids, places, strict=True):
            first[group] = min(first.get(group, (sample, place)), (sample, place))
        found: dict[str, dict[str, str]] = {shard: {} for shard in shards}
        for group, place in zip(groups.tolist(), places, strict=True):
            sample, where = first[group]
            if place != where:
                found[place[0]][str(place[1])] = sample
        return found

    def process_shard(self, inputs: Inputs) -> Output:
        """The table ``verdicts``, a row for each duplicate."""
        rows: list[dict[str, Any]] = [
            {"row": int(row), "verdict": "rejected", "reasons": [f"duplicate: of {sample}"]}
            for row, sample in inputs.shared.items()
        ]
        rows.sort(key=lambda row: row["row"])
        return Output({"verdicts": pa.Table.from_pylist(rows, schema=VERDICTS)}, Counter({"rejected: duplicate": len(rows)}))
