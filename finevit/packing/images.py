"""Packs of images: built, split, selected, thinned out and repeated (paper, encoder section: native resolution, no padding)."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from finevit.packing.packs import PackedImages


def cu_seqlens(seqlens: Sequence[int], device: torch.device | str = "cpu") -> Int[Tensor, " starts"]:
    """Where sequences of these lengths start in their pack, int32; the last entry is the number of all tokens."""
    return torch.tensor([0, *accumulate(seqlens)], dtype=torch.int32).to(device, non_blocking=True)


def pack_images(
    patches: Sequence[np.ndarray], shapes: Sequence[tuple[int, int]], positions: Sequence[np.ndarray] | None = None
) -> PackedImages:
    """Images as ``uint8 [rows * cols, pixels]`` and their grids -> one :class:`~finevit.packing.packs.PackedImages`.

    Where patches were dropped, ``positions`` are row and column of those that are left, ``[kept, 2]`` per image.
    """
    if positions is None:
        positions = [np.indices((rows, cols)).reshape(2, -1).T for rows, cols in shapes]
    seqlens = tuple(len(image) for image in patches)
    assert seqlens == tuple(len(position) for position in positions), "as many positions as patches"
    return PackedImages(
        pixels=torch.from_numpy(np.concatenate(patches)),
        positions=torch.from_numpy(np.concatenate(positions).astype(np.int32)),
        cu_seqlens=cu_seqlens(seqlens),
        shapes=tuple((int(rows), int(cols)) for rows, cols in shapes),
        seqlens=seqlens,
    )


def split_images(images: PackedImages, size: int) -> Iterator[PackedImages]:
    """Packs of at most ``size`` consecutive images; views, no copies."""
    start = 0
    for first in range(0, len(images.seqlens), size):
        seqlens = images.seqlens[first : first + size]
        end = start + sum(seqlens)
        yield PackedImages(
            pixels=images.pixels[start:end],
            positions=images.positions[start:end],
            cu_seqlens=images.cu_seqlens[first : first + len(seqlens) + 1] - start,
            shapes=images.shapes[first : first + size],
            seqlens=seqlens,
        )
        start = end


def select_images(images: PackedImages, chosen: Sequence[bool]) -> PackedImages:
    """The pack of those images alone that are chosen, at least one; copies."""
    index = [image for image, here in enumerate(chosen) if here]
    pixels, positions = (each.split(list(images.seqlens)) for each in (images.pixels, images.positions))
    seqlens = tuple(images.seqlens[image] for image in index)
    return PackedImages(
        pixels=torch.cat([pixels[image] for image in index]),
        positions=torch.cat([positions[image] for image in index]),
        cu_seqlens=cu_seqlens(seqlens, images.cu_seqlens.device),
        shapes=tuple(images.shapes[image] for image in index),
        seqlens=seqlens,
    )


def keep_patches(images: PackedImages, kept: Bool[Tensor, " patches"]) -> tuple[PackedImages, Tensor]:
    """The pack without the patches that are not ``kept``, which lies on the host, and the indices of those that are."""
    seqlens = tuple(int(part.sum()) for part in kept.split(list(images.seqlens)))
    index = kept.nonzero()[:, 0].to(images.pixels.device, non_blocking=True)
    starts = cu_seqlens(seqlens, images.cu_seqlens.device)
    return PackedImages(images.pixels[index], images.positions[index], starts, images.shapes, seqlens), index


def repeat_images(images: PackedImages, times: int) -> PackedImages:
    """The same images ``times`` times, one copy of the whole pack after the other."""
    if times == 1:
        return images
    seqlens = images.seqlens * times
    return PackedImages(
        pixels=images.pixels.repeat(times, 1),
        positions=images.positions.repeat(times, 1),
        cu_seqlens=cu_seqlens(seqlens, images.cu_seqlens.device),
        shapes=images.shapes * times,
        seqlens=seqlens,
    )


def check_whole(images: PackedImages) -> None:
    """Raises ``ValueError`` where patches were dropped, for what needs every image's full grid."""
    for (rows, cols), length in zip(images.shapes, images.seqlens, strict=True):
        if length != rows * cols:
            raise ValueError(
                f"{length} of an image's {rows} x {cols} patches are left, where whole images are needed: leave DropPatches out"
            )
