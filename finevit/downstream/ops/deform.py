"""Deformable convolutions (arXiv 1703.06211, 1811.11168) with mmcv's arguments, by torchvision's kernels.

``input``: B x C x H x W. ``weight``: O x C / group x kernel. ``offset``: B x deformable_group * kernel * (y, x) x output's H x W;
``mask`` the same without (y, x). mmcv's scratch tensors (columns, ones) and its ``im2col_step`` decide nothing here.
"""

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


@torch.no_grad()
def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,  # noqa: N803
    kH: int,  # noqa: N803
    dW: int,  # noqa: N803
    dH: int,  # noqa: N803
    padW: int,  # noqa: N803
    padH: int,  # noqa: N803
    dilationW: int,  # noqa: N803
    dilationH: int,  # noqa: N803
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Writes ``output``, B x O x H x W."""
    geometry = Geometry((dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    output.copy_(convolve(input, weight, offset, None, None, geometry))


@torch.no_grad()
def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,  # noqa: N803
    gradInput: Tensor,  # noqa: N803
    gradOffset: Tensor,  # noqa: N803
    weight: Tensor,
    columns: Tensor,
    kW: int,  # noqa: N803
    kH: int,  # noqa: N803
    dW: int,  # noqa: N803
    dH: int,  # noqa: N803
    padW: int,  # noqa: N803
    padH: int,  # noqa: N803
    dilationW: int,  # noqa: N803
    dilationH: int,  # noqa: N803
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Adds to ``gradInput``, writes ``gradOffset``."""
    geometry = Geometry((dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    found = gradients(gradOutput, input, weight, offset, None, None, geometry)
    gradInput.add_(found[0])
    gradOffset.copy_(found[2])


@torch.no_grad()
def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,  # noqa: N803
    gradWeight: Tensor,  # noqa: N803
    columns: Tensor,
    ones: Tensor,
    kW: int,  # noqa: N803
    kH: int,  # noqa: N803
    dW: int,  # noqa: N803
    dH: int,  # noqa: N803
    padW: int,  # noqa: N803
    padH: int,  # noqa: N803
    dilationW: int,  # noqa: N803
    dilationH: int,  # noqa: N803
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Adds ``scale`` times the gradient to ``gradWeight``, whose values the gradient does not depend on."""
    geometry = Geometry((dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    gradWeight.add_(gradients(gradOutput, input, gradWeight, offset, None, None, geometry)[1], alpha=scale)


@torch.no_grad()
def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Writes ``output``, B x O x H x W."""
    geometry = Geometry((stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w), group, deformable_group)
    offset, mask = (_as_read(maps, output) for maps in (offset, mask))
    output.copy_(convolve(input, weight, offset, mask, bias if with_bias else None, geometry).view_as(output))


@torch.no_grad()
def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Adds to the gradients of input, weight and bias; writes those of offset and mask."""
    geometry = Geometry((stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w), group, deformable_group)
    offset, mask = (_as_read(maps, grad_output) for maps in (offset, mask))
    found = gradients(grad_output, input, weight, offset, mask, bias if with_bias else None, geometry)
    grad_input += found[0]
    grad_weight += found[1]
    _write_where_read(grad_offset, found[2])
    _write_where_read(grad_mask, found[3])
    if with_bias:
        grad_bias += found[4]


def _as_read(maps: Tensor, output: Tensor) -> Tensor:
    """Offsets or masks that are larger than the output, which mmdet's DyHead gives, as mmcv reads them: as if laid out for it."""
    batch, channels, *size = maps.shape
    if size == list(output.shape[-2:]):
        return maps
    return maps.flatten(1)[:, : channels * output.shape[-2:].numel()].reshape(batch, channels, *output.shape[-2:])


def _write_where_read(grad: Tensor, found: Tensor) -> None:
    """The gradient of what ``_as_read`` gave, and 0 where it read nothing."""
    flat = grad.new_zeros(len(grad), grad[0].numel())
    flat[:, : found[0].numel()] = found.flatten(1)
    grad.copy_(flat.view_as(grad))
