"""Types of numbers: bfloat16, which no kernel here takes, is computed in float32, and so is a mixture of float16 and float32."""

from functools import reduce

import torch
from torch import Tensor


def widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the one type that holds them all; float32 where that is bfloat16."""
    wide = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return tuple(tensor.to(torch.float32 if wide == torch.bfloat16 else wide) for tensor in tensors)


def wide(tensor: Tensor) -> Tensor:
    """In float32 at least."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def single(tensor: Tensor) -> Tensor:
    """In float32, for what asks for no gradient."""
    return tensor.detach().float()
