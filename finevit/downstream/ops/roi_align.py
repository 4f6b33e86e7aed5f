"""RoIAlign (arXiv 1703.06870) with mmcv's arguments: averages by torchvision's kernels, maxima by mmcv's formulas in tensors.

One thing differs, averages of float64 with ``sampling_ratio`` 0: mmcv rounds a bin's side to float32 before it counts its samples.

``input``: B x C x H x W. ``rois``: N x 5, the image's index and x1, y1, x2, y2, in pixels of ``input`` times ``1 / spatial_scale``.
"""

from typing import NamedTuple

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from finevit.downstream.ops.dtypes import widened


class Corners(NamedTuple):
    """The four pixels around points: their places in an image's rows, 4 x ..., int64, and their weights."""

    places: Tensor
    weights: Tensor


def corners(y: Tensor, x: Tensor, height: int, width: int) -> Corners:
    """Of points in pixels. Those more than a pixel outside have no weight; others are moved to the border."""
    outside = (y < -1) | (y > height) | (x < -1) | (x > width)
    top, bottom, down = _neighbours(y, height)
    left, right, along = _neighbours(x, width)
    places = torch.stack([top * width + left, top * width + right, bottom * width + left, bottom * width + right])
    up, back = 1 - down, 1 - along
    weights = torch.stack([up * back, up * along, down * back, down * along])
    return Corners(places.masked_fill(outside, 0), weights.masked_fill(outside, 0))


def _neighbours(points: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """On one axis: the pixel before, the pixel after, and how far from the one before."""
    points = points.clamp(min=0)
    before = points.nan_to_num().long().clamp(max=size - 1)
    after = (before + 1).clamp(max=size - 1)
    points = torch.where(before >= size - 1, before.to(points.dtype), points)
    return before, after, points - before.to(points.dtype)


MAX, CHUNK = 0, 2**24
"""The pool mode of maxima, and how many samples are looked at together."""


@torch.no_grad()
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Writes ``output``, N x C x height x width, and for maxima where in ``input`` they lie, -1 where there is none."""
    input, rois = widened(input, rois)
    scale = _rounded(spatial_scale, rois.dtype)
    areas = regions(rois, scale, aligned=aligned)
    if pool_mode != MAX:
        size = (aligned_height, aligned_width)
        output.copy_(torch.ops.torchvision.roi_align(input, rois, scale, *size, sampling_ratio, aligned))
        return
    for chosen, grid in _by_grid(areas, (aligned_height, aligned_width), sampling_ratio):
        share = max(1, CHUNK // max(1, input.shape[1] * aligned_height * aligned_width * grid[0] * grid[1]))
        for part in chosen.split(share):
            found = _maxima(input, rois[part, 0].long(), areas.pick(part), (aligned_height, aligned_width), grid)
            output[part], argmax_y[part], argmax_x[part] = (values.to(output.dtype) for values in found)


@torch.no_grad()
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Adds to ``grad_input`` what ``grad_output`` gives the pixels that were averaged, or those around the maxima."""
    grad_output, rois = widened(grad_output, rois)
    scale = _rounded(spatial_scale, rois.dtype)
    if pool_mode != MAX:
        sizes = (aligned_height, aligned_width, *grad_input.shape)
        grad_input += torch.ops.torchvision._roi_align_backward(grad_output, rois, scale, *sizes, sampling_ratio, aligned)
        return
    _, channels, height, width = grad_input.shape
    around = corners(argmax_y.to(rois.dtype), argmax_x.to(rois.dtype), height, width)
    plane = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)
    places = around.places + plane[:, :, None, None] * (height * width)
    shares = torch.where(argmax_y == -1, 0, around.weights * grad_output)
    total = shares.new_zeros(grad_input.numel()).index_add_(0, places.flatten(), shares.flatten())
    grad_input += total.view(grad_input.shape)


class Regions(NamedTuple):
    """The first corner and the sides of regions of interest, in pixels, N each."""

    y: Tensor
    x: Tensor
    height: Tensor
    width: Tensor

    def pick(self, chosen: Tensor) -> "Regions":
        """Those of the given indices."""
        return Regions(*(values[chosen] for values in self))


def regions(rois: Tensor, scale: float, *, aligned: bool) -> Regions:
    """Scaled; half a pixel earlier if ``aligned``, else with sides of one pixel at least."""
    x1, y1, x2, y2 = (rois[:, 1:] * scale - (0.5 if aligned else 0)).unbind(1)
    height, width = y2 - y1, x2 - x1
    if not aligned:
        return Regions(y1, x1, height.clamp(min=1), width.clamp(min=1))
    if rois.device.type == "cpu" and not bool(((height >= 0) & (width >= 0)).all()):
        raise ValueError("roi_align: with aligned=True the sides x2 - x1 and y2 - y1 of rois must not be negative; clip the boxes")
    return Regions(y1, x1, height, width)


def _rounded(scale: float, dtype: torch.dtype) -> float:
    """As mmcv has it: a float, then of the tensors' type."""
    return float(torch.tensor(scale, dtype=torch.float32).to(dtype))


def _by_grid(areas: Regions, size: tuple[int, int], ratio: int) -> list[tuple[Tensor, tuple[int, int]]]:
    """The indices of the regions by how many samples, vertically and horizontally, their bins have."""
    if ratio > 0:
        return [(torch.arange(len(areas.y), device=areas.y.device), (ratio, ratio))]
    grids = torch.stack([areas.height / size[0], areas.width / size[1]], 1).float().ceil().long()
    kinds, members = grids.unique(dim=0, return_inverse=True)
    return [((members == kind).nonzero()[:, 0], (rows, columns)) for kind, (rows, columns) in enumerate(kinds.tolist())]


def _maxima(
    input: Tensor, images: Tensor, areas: Regions, size: tuple[int, int], grid: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Each bin's largest sample, its y and its x. All N x C x height x width."""
    lowest = _lowest(input)
    if 0 in grid:
        shape = (len(images), input.shape[1], *size)
        return input.new_full(shape, lowest), input.new_full(shape, -1), input.new_full(shape, -1)
    y = _samples(areas.y, areas.height, size[0], grid[0])[:, :, None, :, None]
    x = _samples(areas.x, areas.width, size[1], grid[1])[:, None, :, None, :]
    y, x = (points.flatten(3) for points in torch.broadcast_tensors(y, x))  # N x height x width x samples
    around = corners(y, x, *input.shape[2:])
    flat = input.flatten(2)
    channels = torch.arange(flat.shape[1], device=flat.device).view(-1, 1, 1, 1)
    pixels = (flat[images.view(-1, 1, 1, 1, 1), channels, place[:, None]] for place in around.places)
    first, second, third, fourth = (weight[:, None] * pixel for weight, pixel in zip(around.weights, pixels, strict=True))
    values = first + second + third + fourth
    best, where = torch.where(values > lowest, values, lowest).max(-1)
    found = best > lowest
    return best, torch.where(found, _at(y, where), -1), torch.where(found, _at(x, where), -1)


def _at(points: Tensor, where: Tensor) -> Tensor:
    return points[:, None].expand(*where.shape, -1).gather(-1, where[..., None])[..., 0]


def _lowest(input: Tensor) -> float:
    """Where mmcv's search for a maximum starts."""
    if input.device.type == "cpu":
        return -10000.0
    return max(torch.finfo(torch.float32).min, torch.finfo(input.dtype).min) if input.dtype != torch.half else -torch.inf


def _samples(start: Tensor, side: Tensor, bins: int, each: int) -> Tensor:
    """The coordinates of the samples on one axis, N x bins x each; the operations in mmcv's order."""
    bin_size = (side / bins)[:, None, None]
    index = torch.arange(bins, dtype=side.dtype, device=side.device)[:, None]
    middle = torch.arange(each, dtype=side.dtype, device=side.device) + 0.5
    return start[:, None, None] + index * bin_size + middle * bin_size / each
