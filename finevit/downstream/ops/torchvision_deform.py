"""torchvision's deformable convolution, its gradients fitted to mmcv's. Tensors as in ``finevit.downstream.ops.deform``."""

from typing import NamedTuple

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from finevit.downstream.ops.dtypes import widened


class Geometry(NamedTuple):
    """The integers of torchvision's operation, in its order; pairs are (vertical, horizontal)."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    offset_groups: int

    def flat(self) -> tuple[int, ...]:
        """As arguments."""
        return (*self.stride, *self.padding, *self.dilation, self.groups, self.offset_groups)


def convolve(input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """The output. Without ``mask`` nothing is modulated."""
    input, weight, offset, *optional = widened(input, weight, offset, *_filled(input, weight, mask, bias))
    return torch.ops.torchvision.deform_conv2d(input, weight, offset, *optional, *geometry.flat(), mask is not None)


def gradients(
    grad: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, geometry: Geometry
) -> tuple[Tensor, ...]:
    """Of input, weight, offset, mask, bias."""
    tensors = widened(grad.contiguous(), input, weight, offset, *_filled(input, weight, mask, bias))
    found = list(torch.ops.torchvision._deform_conv2d_backward(*tensors, *geometry.flat(), mask is not None))
    found[2] *= _within(offset, input, weight, geometry)
    return tuple(found)


def _filled(input: Tensor, weight: Tensor, mask: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """What torchvision takes where there is no mask or no bias."""
    none = input.new_zeros(input.shape[0], 1)
    return none if mask is None else mask, input.new_zeros(weight.shape[0]) if bias is None else bias


def _within(offset: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """1 where an offset's point is less than a pixel outside the image, else 0: mmcv gives nothing to a point at exactly -1.

    torchvision does. Offsets that start at 0 lead to such points wherever the image is padded.
    """
    batch, _, *size = offset.shape
    points = offset.view(batch, geometry.offset_groups, *weight.shape[2:], 2, *size)  # B x groups x kernel x (y, x) x output
    within = torch.ones_like(points[:, :, :, :, 0], dtype=torch.bool)
    for axis in (0, 1):
        steps = torch.arange(size[axis], device=offset.device) * geometry.stride[axis] - geometry.padding[axis]
        taps = torch.arange(weight.shape[2 + axis], device=offset.device) * geometry.dilation[axis]
        base = taps.view(-1, *(1 for _ in range(3 - axis))) + steps.view(-1, *(1 for _ in range(1 - axis)))
        point = points[:, :, :, :, axis] + base.to(offset.dtype)
        within &= (point > -1) & (point < input.shape[2 + axis])
    return within[:, :, :, :, None].expand_as(points).reshape(offset.shape).to(offset.dtype)
