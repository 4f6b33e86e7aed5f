"""Embedded scenes with an alt text and the truth's captions: what recaptioning reads, and adds its own to."""

from random import Random

from recaptions.alt import alt_text

from finevit.contracts import Record
from finevit.registry import DATASETS
from finevit.scenes import Scenes


@DATASETS.register_module()
class DescribedScenes(Scenes):
    """Scenes whose captions are ``alt``, ``truth`` and ``truth-short``."""

    def __getitem__(self, index: int) -> Record:
        record = super().__getitem__(index)
        alt = alt_text(self.look(index % len(self))[1], Random(record.id))
        captions = {"alt": alt, "truth": record.captions["long"], "truth-short": record.captions["short"]}
        return Record(id=record.id, image=record.image, captions=captions)
