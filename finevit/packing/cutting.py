"""Cuts packs of images and of texts into packs of fewer, and of images with fewer patches."""

from collections.abc import Iterator, Sequence
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


def select_images(images: PackedImages, chosen: Sequence[bool]) -> PackedImages:
    """The pack of those images alone that are chosen, at least one; copies."""
    places = [place for place, here in enumerate(chosen) if here]
    lengths = tuple(images.lengths[place] for place in places)
    pixels, positions = (each.split(list(images.lengths)) for each in (images.pixels, images.positions))
    return PackedImages(
        pixels=torch.cat([pixels[place] for place in places]),
        positions=torch.cat([positions[place] for place in places]),
        offsets=_offsets(lengths, images),
        shapes=tuple(images.shapes[place] for place in places),
        lengths=lengths,
    )


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
    index = kept.nonzero()[:, 0].to(images.pixels.device, non_blocking=True)
    return PackedImages(images.pixels[index], images.positions[index], _offsets(lengths, images), images.shapes, lengths), index


def _offsets(lengths: Sequence[int], images: PackedImages) -> Tensor:
    """Where images of these lengths start, as those of ``images`` are told."""
    return torch.tensor([0, *accumulate(lengths)], dtype=images.offsets.dtype).to(images.offsets.device, non_blocking=True)
