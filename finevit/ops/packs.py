"""Cuts packs of images and of texts into packs of fewer, and of images with fewer patches."""

from collections.abc import Iterator
from itertools import accumulate

import torch
from jaxtyping import Bool
from torch import Tensor

from finevit.contracts import PackedImages, PackedTexts


def split_images(images: PackedImages, size: int) -> Iterator[PackedImages]:
    """Packs of at most ``size`` consecutive images; views, no copies."""
    start = 0
    for first in range(0, len(images.lengths), size):
        lengths = images.lengths[first : first + size]
        end = start + sum(lengths)
        yield PackedImages(
            pixels=images.pixels[start:end],
            positions=images.positions[start:end],
            offsets=images.offsets[first : first + len(lengths) + 1] - start,
            shapes=images.shapes[first : first + size],
            lengths=lengths,
        )
        start = end


def split_texts(texts: PackedTexts, size: int) -> Iterator[PackedTexts]:
    """Packs of at most ``size`` consecutive texts."""
    start = 0
    for first in range(0, len(texts.lengths), size):
        lengths = texts.lengths[first : first + size]
        end = start + sum(lengths)
        offsets = texts.offsets[first : first + len(lengths) + 1] - start
        yield PackedTexts(texts.tokens[start:end], offsets, lengths, texts.limit)
        start = end


def keep_patches(images: PackedImages, kept: Bool[Tensor, " patches"]) -> tuple[PackedImages, Tensor]:
    """The pack without the patches that are not ``kept``, which lies on the host, and the places of those that are."""
    lengths = tuple(int(part.sum()) for part in kept.split(list(images.lengths)))
    offsets = torch.tensor([0, *accumulate(lengths)], dtype=images.offsets.dtype)
    offsets, index = (each.to(images.pixels.device, non_blocking=True) for each in (offsets, kept.nonzero()[:, 0]))
    return PackedImages(images.pixels[index], images.positions[index], offsets, images.shapes, lengths), index
