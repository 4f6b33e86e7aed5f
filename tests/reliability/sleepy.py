"""A transform that blocks for ever at one of its samples, as a read from a place on the network does that is gone."""

import time
from itertools import count

from finevit.datasets.transforms.image_transforms import ResizeToBudget
from finevit.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Sleepy(ResizeToBudget):
    """Blocks at the ``nth`` sample of its process."""

    def __init__(self, *, nth: int) -> None:
        super().__init__()
        self.nth, self.seen = nth, count(1)

    def __call__(self, sample: dict) -> dict:
        while next(self.seen) >= self.nth:
            time.sleep(3600)
        return super().__call__(sample)
