"""Padded batches of images in, feature maps out: how detectors and segmenters hold images, without their padding in attention."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from finevit.packing.images import cu_seqlens
from finevit.packing.packs import PackedImages


def content_sizes(images: Tensor) -> list[tuple[int, int]]:
    """Height and width of each image of ``[images, channels, height, width]`` without the padding to its right and below.

    Padding is what is 0 in every channel, to the very edge. OpenMMLab's preprocessors normalise first and pad with 0
    then, so that no pixel of an image is 0 in all channels (the mean of a channel is no whole number of 1/255). An image of
    padding alone counts as whole. The host waits for the device once.
    """
    content = (images != 0).any(1)
    sides = []
    for dim in (2, 1):  # rows that hold something, then columns
        places = torch.arange(1, content.shape[3 - dim] + 1, device=images.device)
        sides.append((content.any(dim) * places).amax(1))
    height, width = images.shape[2:]
    return [(h, w) if h and w else (height, width) for h, w in torch.stack(sides, 1).tolist()]


def pack_dense(images: Tensor, *, patch: int) -> PackedImages:
    """A padded batch ``[images, channels, height, width]`` as a pack: of each image the patches that hold something of it.

    A patch that an image fills only in part keeps the padding beside it, as it would if the image stood alone.
    """
    sizes = content_sizes(images)
    shapes = tuple((-(-h // patch), -(-w // patch)) for h, w in sizes)
    height, width = images.shape[2:]
    images = pad(images, (0, -width % patch, 0, -height % patch))
    patches = rearrange(images, "b c (r p) (s q) -> b r s (c p q)", p=patch, q=patch)
    kept = _kept(shapes, patches.shape[1], patches.shape[2], images.device)
    seqlens = tuple(rows * cols for rows, cols in shapes)
    positions = kept.nonzero()[:, 1:].to(torch.int32)
    return PackedImages(patches[kept], positions, cu_seqlens(seqlens, images.device), shapes, seqlens)


def unpack_dense(tokens: Tensor, images: PackedImages, grid: tuple[int, int]) -> Tensor:
    """``[patches, dim]`` -> ``[images, dim, rows, cols]`` of the batch's ``grid``; zero where an image has no patch."""
    maps = tokens.new_zeros(len(images.shapes), *grid, tokens.shape[1])
    maps[_kept(images.shapes, *grid, tokens.device)] = tokens
    return rearrange(maps, "b r s d -> b d r s")


def resample_maps(maps: Tensor, size: Sequence[int], *, step: float) -> Tensor:
    """``[images, dim, rows, cols]`` on ``size`` cells, each ``step`` of the old ones wide and high, from the left upper corner on.

    Bilinear between the centres of cells, so each value lies where its pixels do; past the last centre, the last cells' own.
    """
    down, along = (_between(new, old, step, maps) for new, old in zip(size, maps.shape[2:], strict=True))
    return down @ maps @ along.T


def _between(new: int, old: int, step: float, like: Tensor) -> Tensor:
    """``[new, old]``: how much each of the ``old`` cells counts in each of the ``new`` ones, on one axis."""
    centres = ((torch.arange(new, device=like.device) + 0.5) * step - 0.5).clamp(0, old - 1)
    return (1 - (centres[:, None] - torch.arange(old, device=like.device)).abs()).clamp(min=0).to(like.dtype)


def _kept(shapes: Sequence[tuple[int, int]], rows: int, cols: int, device: torch.device) -> Tensor:
    """Which cells of the batch's grid are an image's: bool ``[images, rows, cols]``."""
    ends = torch.tensor(shapes, device=device)[:, :, None]
    inside = torch.arange(rows, device=device) < ends[:, 0], torch.arange(cols, device=device) < ends[:, 1]
    return inside[0][:, :, None] & inside[1][:, None]


def content_cells(maps: Tensor) -> Tensor:
    """Which cells of maps ``[images, dim, rows, cols]`` are an image's, ``[images, rows, cols]``; all where none holds anything.

    Padding is 0 in every channel, as :func:`unpack_dense` leaves it.
    """
    cells = (maps != 0).any(1)
    return cells | ~cells.flatten(1).any(1)[:, None, None]


def window_order(images: PackedImages, window: int) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """A pack's patches window by window: their order, and ``cu_seqlens`` and ``seqlens`` of windows of ``window x window`` patches.

    Windows start at an image's left upper corner; those at its right and lower edge hold what is left. The order keeps images
    together. No patch may have been dropped.
    """
    seqlens: list[int] = []
    for rows, cols in images.shapes:
        highs, wides = ([min(window, side - start) for start in range(0, side, window)] for side in (rows, cols))
        seqlens += [high * wide for high in highs for wide in wides]
    owner = torch.repeat_interleave(torch.diff(images.cu_seqlens), output_size=len(images.positions))
    most = 1 + max(max(shape) for shape in images.shapes) // window
    row, col = (images.positions.long() // window).unbind(1)
    order = torch.argsort((owner * most + row) * most + col, stable=True)
    return order, cu_seqlens(seqlens, images.positions.device), tuple(seqlens)
