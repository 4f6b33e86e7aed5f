"""RoI pooling (arXiv 1504.08083) as mmcv's CUDA kernel does it: bins are not rounded first, as torchvision's are.

``input``: B x C x H x W. ``rois``: N x 5, the image's index and x1, y1, x2, y2, ends included.
"""

import numpy as np
import torch
from torch import Tensor

from finevit.downstream.ops.dtypes import widened


@torch.no_grad()
def roi_pool_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, pooled_height: int, pooled_width: int, spatial_scale: float
) -> None:
    """Writes each bin's maximum and its place in the rows of its channel, or 0 and -1. Skips regions that have no area."""
    input, rois = widened(input, rois)
    images, x1, y1, x2, y2 = _scaled(rois, spatial_scale)
    rows = _bins(y1, y2, pooled_height, input.shape[2])
    columns = _bins(x1, x2, pooled_width, input.shape[3])
    for n in ((x2 > x1) & (y2 > y1)).nonzero()[:, 0].tolist():
        image = input[int(images[n])]
        for i, (top, bottom) in enumerate(rows[n]):
            for j, (left, right) in enumerate(columns[n]):
                output[n, :, i, j], argmax[n, :, i, j] = _maximum(image, top, bottom, left, right)


@torch.no_grad()
def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Adds to ``grad_input`` the gradients of the maxima."""
    channels, size = grad_input.shape[1], grad_input.shape[2] * grad_input.shape[3]
    plane = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)
    places = plane[:, :, None, None] * size + argmax
    found = argmax != -1
    total = grad_input.new_zeros(grad_input.numel()).index_add_(0, places[found], grad_output[found])
    grad_input += total.view(grad_input.shape)


def _scaled(rois: Tensor, scale: float) -> tuple[Tensor, ...]:
    ends = rois.new_tensor([0, 0, 1, 1])
    return rois[:, 0], *((rois[:, 1:] + ends) * float(np.float32(scale))).unbind(1)


def _bins(start: Tensor, end: Tensor, count: int, size: int) -> list[list[tuple[int, int]]]:
    """First and last + 1 pixel of each bin of each region, within the image."""
    bin_size = ((end - start) / count)[:, None]
    index = torch.arange(count, dtype=start.dtype, device=start.device)
    first = (index * bin_size + start[:, None]).floor().clamp(0, size).long()
    last = ((index + 1) * bin_size + start[:, None]).ceil().clamp(0, size).long()
    return [list(zip(*pair, strict=True)) for pair in zip(first.tolist(), last.tolist(), strict=True)]


def _maximum(image: Tensor, top: int, bottom: int, left: int, right: int) -> tuple[Tensor, Tensor]:
    """Of each channel, and where."""
    if bottom <= top or right <= left:
        return image.new_zeros(len(image)), image.new_full((len(image),), -1, dtype=torch.int)
    lowest = max(torch.finfo(torch.float32).min, torch.finfo(image.dtype).min)
    values = image[:, top:bottom, left:right].flatten(1)
    best, where = torch.where(values > lowest, values, lowest).max(1)
    place = (top + where // (right - left)) * image.shape[2] + left + where % (right - left)
    return best, torch.where(best > lowest, place, -1).int()
