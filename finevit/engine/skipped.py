"""What an evaluation's numbers lack: images that could not be used, and questions that could not be asked."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmengine.dist import all_gather_object

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
