"""What regions hold, painted instead of pictured: a language model that has yet to learn to search learns it before it sees."""

from functools import cache
from hashlib import blake2b

import numpy as np

from finevit.boxes import fault_of_box
from finevit.contracts import PATCH, Region
from finevit.datasets.tasks import words
from finevit.registry import TRANSFORMS

COARSE = 4
"""Side of a texture in its own pixels, each a ``COARSE``-th of a patch large: an encoder's patch embedding tells coarse textures
better than fine ones."""


@TRANSFORMS.register_module()
class PaintRegions:
    """Paints, in the place of the image, each region's box with a texture of what it holds, the rest grey; with a probability.

    The texture of a phrase is the mean of its words'; a line of text is parted evenly among its letters. Textures repeat with the
    patches, so that each patch of a region tells it all. What a box covers of another is in the order of the regions. For Stage
    III, after ``ResizeToBudget``: it marks the sample (``is_painted``), and the model reads its patches without the encoder:
    nothing that is asked is harder to see than to read. Close-ups (``CropToRegion``) are for the encoder, and stay, as do images
    without a region.

    Args:
        probability: how many of the images that are no close-ups are painted; a schedule of the batch sampler (``painted``) takes
            its place.
        patch: side of the encoder's patches in pixels; ``load_config`` fills in the model's.
    """

    def __init__(self, *, probability: float = 1.0, patch: int = PATCH) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"PaintRegions.probability={probability!r}: give a share between 0 and 1")
        self.probability, self.patch = probability, patch

    def __call__(self, sample: dict) -> dict:
        scheduled = sample.get("painted")
        if sample["rng"].random() >= (self.probability if scheduled is None else scheduled) or sample.get("cut"):
            return sample
        painted = [region for region in sample["regions"] if not fault_of_box(region.box)]
        if not painted:  # of a grey image there is nothing to learn
            return sample
        canvas = np.full_like(sample["image"], 128)
        for region in painted:
            _paint(canvas, region, self.patch)
        return {**sample, "image": canvas, "is_painted": True}


def _paint(canvas: np.ndarray, region: Region, patch: int) -> None:
    """Paints the box of a region, whose edges are rounded to pixels."""
    height, width = canvas.shape[:2]
    left, top, right, bottom = (round(edge * side) for edge, side in zip(region.box, (width, height) * 2, strict=True))
    parts = list(region.text) if region.text else [words(region.phrase)]
    edges = np.linspace(left, right, len(parts) + 1).round().astype(int)
    for part, begin, end in zip(parts, edges, edges[1:], strict=False):
        rows, columns = np.ix_(np.arange(top, bottom) % patch, np.arange(begin, end) % patch)
        canvas[top:bottom, begin:end] = texture(part, patch)[rows, columns]


@cache
def texture(phrase: str, patch: int = PATCH) -> np.ndarray:
    """``uint8 [patch, patch, 3]``, the same for the same words everywhere and always."""
    each = [_noise(word) for word in phrase.split() or [phrase]]
    coarse = 128 + 110 * np.mean(each, axis=0)
    fine = np.arange(patch) * COARSE // patch
    return coarse[fine][:, fine].astype(np.uint8)


def _noise(word: str) -> np.ndarray:
    """1 or -1 ``[COARSE, COARSE, 3]``, drawn by the word."""
    seed = int.from_bytes(blake2b(word.encode(), digest_size=8).digest())
    return np.random.default_rng(seed).choice((-1.0, 1.0), (COARSE, COARSE, 3))
