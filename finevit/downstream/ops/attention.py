"""Multi-scale deformable attention (arXiv 2010.04159) in mmcv's own formulation for processors, on any device.

``value``: B x S x heads x D. ``sampling_loc``: B x Q x heads x levels x points x (x, y) in 0..1. ``attn_weight``: the same without
the last axis.
"""

import torch
from torch import Tensor

from finevit.downstream.ops.dtypes import wide, widened


@torch.no_grad()
def ms_deform_attn_forward(
    value: Tensor, spatial_shapes: Tensor, level_start_index: Tensor, sampling_loc: Tensor, attn_weight: Tensor, im2col_step: int
) -> Tensor:
    """B x Q x heads * D."""
    return _attend(value, spatial_shapes, sampling_loc, attn_weight).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_loc: Tensor,
    attn_weight: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Adds the gradients to the last three tensors."""
    leaves = [tensor.detach().requires_grad_() for tensor in (value, sampling_loc, attn_weight)]
    with torch.enable_grad():
        output = _attend(leaves[0], spatial_shapes, *leaves[1:]).to(grad_output.dtype)
    gradients = torch.autograd.grad(output, leaves, grad_output)
    with torch.no_grad():
        for total, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), gradients, strict=True):
            total += gradient


def _attend(value: Tensor, spatial_shapes: Tensor, sampling_loc: Tensor, attn_weight: Tensor) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    value, sampling_loc, attn_weight = widened(wide(value), sampling_loc, attn_weight)
    return multi_scale_deformable_attn_pytorch(value, spatial_shapes.tolist(), sampling_loc, attn_weight)
