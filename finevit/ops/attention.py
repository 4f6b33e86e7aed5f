"""Attention within each image of a pack, without padding and without a mask."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

FEW = 512
"""Patches of a small image."""


def path(device: torch.device, dtype: torch.dtype) -> str:
    """How the encoder computes attention on a device in a precision, for people."""
    if _in_one_kernel(device, dtype):
        return "one kernel of variable length for the whole pack"
    return "one image after the other" + (", gradients written out" if device.type == "cpu" else "")


def _in_one_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cuda" and dtype in (torch.float16, torch.bfloat16)


def ragged_attention(
    query: Float[Tensor, "patches heads dim"],
    key: Float[Tensor, "patches heads dim"],
    value: Float[Tensor, "patches heads dim"],
    *,
    offsets: Int[Tensor, " starts"],
    lengths: Sequence[int],
) -> Float[Tensor, "patches heads dim"]:
    """Every patch attends to all patches of its own image.

    On CUDA in half precision one variable-length kernel serves the pack; elsewhere images are attended one after the other, which
    on CPU is 2.5 times faster than padding them to a batch. There, in bfloat16, the fused kernel's backward pass is slow: for
    images of up to ``FEW`` patches, whose scores are small, two products and a softmax take half of its time.
    """
    if _in_one_kernel(query.device, query.dtype):
        from torch.nn.attention.varlen import varlen_attn

        longest = max(lengths)
        output = varlen_attn(query, key, value, offsets, offsets, longest, longest)
        assert isinstance(output, Tensor)  # a tuple only where the log-sum-exp is asked for
        return output
    parts = zip(*(t.transpose(0, 1).split(list(lengths), dim=1) for t in (query, key, value)), strict=True)
    plain = FEW if query.device.type == "cpu" and query.dtype == torch.bfloat16 else 0
    return torch.cat([_attend(*part, plain=part[0].shape[1] <= plain) for part in parts], dim=1).transpose(0, 1)


def _attend(query: Tensor, key: Tensor, value: Tensor, *, plain: bool) -> Tensor:
    """One image: ``[heads, patches, dim]`` -> the same."""
    if plain:
        return torch.softmax(query @ key.transpose(1, 2) * query.shape[-1] ** -0.5, -1) @ value
    return scaled_dot_product_attention(query[None], key[None], value[None])[0]
