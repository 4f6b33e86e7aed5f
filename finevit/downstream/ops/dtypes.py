"""bfloat16, which mmcv's kernels do not take, is computed in float32."""

import torch
from torch import Tensor


def widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, those of bfloat16 as float32."""
    return tuple(tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in tensors)
