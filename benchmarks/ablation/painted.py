"""What the ablation's language model of random weights needs to learn the tasks in minutes; its configs import it.

It learns to search painted regions before it sees: what a region holds is painted as a texture, and the connector reads the patches
themselves, so that nothing that is asked is harder to see than to read. It writes boxes as letters.
"""

from collections.abc import Sequence
from functools import cache
from hashlib import blake2b

import numpy as np
from torch import Tensor

from finevit.backbones import FineViT
from finevit.boxes import STYLES, Style, fault_of_box
from finevit.contracts import PATCH, BadSample, EncoderOutput, Region
from finevit.packing.packs import PackedImages
from finevit.registry import MODELS, TRANSFORMS
from finevit.tasks.names import words


class Letters(Style):
    """A number is a letter, from ``a`` for 0."""

    def write(self, count: float) -> str:
        return self.number.format(chr(ord("a") + int(count)))

    def read(self, number: str) -> float:
        return ord(number) - ord("a")


STYLES["letters25"] = LETTERS = Letters(25, "<{}>", r"<([a-z])>", ("", "", ""), boxes="")
"""``<a><b><o><u>``: a side is 25 units, a box four tokens that all matter."""


@MODELS.register_module()
class PatchEmbedding(FineViT):
    """The encoder's patch embedding alone: no block is run."""

    def encode(
        self, images: PackedImages, layers: Sequence[int] = (), replace: tuple[Tensor, Tensor] | None = None
    ) -> EncoderOutput:
        assert not layers
        assert replace is None
        tokens = self.embed(images.pixels)
        return EncoderOutput(tokens, tokens.new_zeros(len(images.seqlens), self.dim))


COARSE = 4
"""Side of a texture in its own pixels, each a ``COARSE``-th of a patch large: an encoder's patch embedding tells coarse textures
better than fine ones."""


@TRANSFORMS.register_module()
class PaintRegions:
    """Paints, in the place of the image, each region's box with a texture of what it holds, the rest grey.

    The texture of a phrase is the mean of its words'; a line of text is parted evenly among its letters. Textures repeat with the
    patches, so that each patch of a region tells it all. What a box covers of another is in the order of the regions. Runs after
    ``ResizeToBudget``; a record without a region is a ``BadSample``.

    Args:
        patch: side of the encoder's patches in pixels; loading a config fills in the model's.
    """

    def __init__(self, *, patch: int = PATCH) -> None:
        self.patch = patch

    def __call__(self, sample: dict) -> dict:
        regions = [region for region in sample["regions"] if not fault_of_box(region.box)]
        if not regions:
            raise BadSample(f"{sample['id']}: no region to paint; of a grey image there is nothing to learn")
        canvas = np.full_like(sample["image"], 128)
        for region in regions:
            _paint(canvas, region, self.patch)
        return {**sample, "image": canvas}


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
