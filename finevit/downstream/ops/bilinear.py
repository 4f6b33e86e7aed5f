"""Bilinear samples and their gradients as mmcv's RoIAlign takes them (mmcv/ops/csrc/pytorch/cpu/roi_align.cpp)."""

from typing import NamedTuple

import torch
from torch import Tensor


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
