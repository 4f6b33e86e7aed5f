"""What lessens an evaluation's numbers: images left out, questions not asked, images that are trained on too."""

from collections import Counter
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object

from finevit.datasets.readers.files import FileSource
from finevit.datasets.transforms.dialogue_transforms import UNASKED


class LeftOut:
    """Collects what the loader says of its batches: ``unusable`` are the images, each with the reason."""

    def __init__(self) -> None:
        self.unusable: list[str] = []
        self.counts = Counter[str]()

    def add(self, batch: Mapping[str, Any] | None) -> None:
        """What a batch tells."""
        self.unusable += (batch or {}).get("skipped", [])
        self.counts.update((batch or {}).get("counts", {}))

    def gather(self) -> None:
        """Take in what the other ranks have collected; all ranks call it."""
        everywhere = all_gather_object((self.unusable, self.counts))
        self.unusable = list(dict.fromkeys(said for unusable, _ in everywhere for said in unusable))
        self.counts = sum((counts for _, counts in everywhere), Counter())

    def said(self) -> str:
        """The end of the data's description; empty where nothing is lacking."""
        unasked = [f"{self.counts[reason]:,} {reason}" for reason in UNASKED if self.counts[reason]]
        parts = [*([f"{len(self.unusable):,} unusable images"] if self.unusable else []), *unasked]
        return f"; INCOMPLETE: {', '.join(parts)} left out" if parts else ""


def seen(train: object, val: object) -> str:
    """``SEEN IN TRAINING: ...`` where the data set ``val`` shows what ``train`` shows too, as far as that can be told.

    Sources of one type on one path are compared by their records. A path inside the other may hold the same images.
    """
    one, other = (getattr(dataset, "source", None) for dataset in (train, val))
    told = (_seen(*pair) for pair in product(*(getattr(source, "parts", (source,)) for source in (one, other))))
    return "; ".join(filter(None, told))


def _seen(one: object, other: object) -> str:
    """Of two sources, of which either may be part of a mixture."""
    if not (isinstance(one, FileSource) and isinstance(other, FileSource)):
        return ""
    roots = [source.data_root.resolve() for source in (one, other)]
    if roots[0] == roots[1] and type(one) is type(other):
        same = len(np.intersect1d(one.rows, other.rows))
        return f"SEEN IN TRAINING: {same:,} of {len(other):,} images" if same else ""
    if roots[0] == roots[1] or roots[0] in roots[1].parents or roots[1] in roots[0].parents:
        return f"PERHAPS SEEN IN TRAINING: {other.data_root} and {one.data_root}, which is trained on, lie in one another"
    return ""
