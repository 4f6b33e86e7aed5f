"""Attention within each image of a pack, without padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

FEW = 512
"""Patches of a small image."""


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Made at the first call: to load the compiler takes seconds."""
    return torch.compile(function, dynamic=True)


def path(device: torch.device, dtype: torch.dtype) -> str:
    """How the encoder computes attention on a device in a precision, for people."""
    if _in_one_kernel(device, dtype):
        return "one kernel of variable length for the whole pack"
    if _in_blocks(device, dtype):
        return "one flexible kernel for the whole pack, which skips what belongs to different images"
    return "one image after the other" + (", gradients written out" if device.type == "cpu" else "")


def _in_one_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cuda" and dtype in (torch.float16, torch.bfloat16)


def _in_blocks(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cuda" and dtype == torch.float32  # FlexAttention knows no float64


@dataclass(eq=False)
class Pack:
    """What attention needs to know of a pack: ``cu_seqlens [images + 1]``, ``seqlens`` on the host, RoPE ``table``.

    No tuple, for ``torch.compile`` would make a graph for each number of images of one.
    """

    cu_seqlens: Int[Tensor, " starts"]
    seqlens: Sequence[int]
    table: tuple[Float[Tensor, "patches 1 half"], Float[Tensor, "patches 1 half"]]
    max_seqlen: int = field(init=False)
    """The largest of the ``seqlens``."""
    mask: BlockMask | None = field(init=False)
    """Which blocks of attention hold anything, for FlexAttention; None where another way is taken."""

    def __post_init__(self) -> None:
        self.max_seqlen = max(self.seqlens)
        device = self.cu_seqlens.device
        autocast = device.type == "cuda" and torch.is_autocast_enabled("cuda")  # some devices cannot be asked
        dtype = torch.get_autocast_dtype("cuda") if autocast else self.table[0].dtype
        self.mask = self._blocks() if _in_blocks(device, dtype) else None

    def _blocks(self) -> BlockMask:
        patches, device = len(self.table[0]), self.cu_seqlens.device
        owners = torch.bucketize(torch.arange(patches, device=device), self.cu_seqlens[1:], right=True)

        def alike(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return owners[query] == owners[key]

        return _compiled(create_block_mask)(alike, None, None, patches, patches, device)


def ragged_attention(
    query: Float[Tensor, "patches heads dim"],
    key: Float[Tensor, "patches heads dim"],
    value: Float[Tensor, "patches heads dim"],
    pack: Pack,
) -> Float[Tensor, "patches heads dim"]:
    """Every patch attends to all patches of its own image.

    On CUDA in half precision one variable-length kernel serves the pack, in float32 FlexAttention with the pack's mask; elsewhere
    images are attended one after the other.
    """
    if _in_one_kernel(query.device, query.dtype):
        from torch.nn.attention.varlen import varlen_attn

        output = varlen_attn(query, key, value, pack.cu_seqlens, pack.cu_seqlens, pack.max_seqlen, pack.max_seqlen)
        assert isinstance(output, Tensor)  # a tuple only where the log-sum-exp is asked for
        return output
    if pack.mask is not None:
        query, key, value = (each.transpose(0, 1)[None] for each in (query, key, value))
        flex: Any = flex_attention if torch.compiler.is_compiling() else _compiled(flex_attention)
        return flex(query, key, value, block_mask=pack.mask)[0].transpose(0, 1)
    return _one_by_one(query, key, value, pack)


@torch.compiler.disable  # a graph would hold the sizes of its images
def _one_by_one(query: Tensor, key: Tensor, value: Tensor, pack: Pack) -> Tensor:
    """Image after image, which on CPU is 2.5 times faster than padding them to a batch.

    There, in bfloat16, the fused kernel's backward pass is slow: for images of up to ``FEW`` patches, whose scores are small, two
    products and a softmax take half of its time.
    """
    seqlens = list(pack.seqlens)
    parts = zip(*(t.transpose(0, 1).split(seqlens, dim=1) for t in (query, key, value)), strict=True)
    plain = FEW if query.device.type == "cpu" and query.dtype == torch.bfloat16 else 0
    return torch.cat([_attend(*part, plain=part[0].shape[1] <= plain) for part in parts], dim=1).transpose(0, 1)


def _attend(query: Tensor, key: Tensor, value: Tensor, *, plain: bool) -> Tensor:
    """One image: ``[heads, patches, dim]`` -> the same."""
    if plain:
        return torch.softmax(query @ key.transpose(1, 2) * query.shape[-1] ** -0.5, -1) @ value
    return scaled_dot_product_attention(query[None], key[None], value[None])[0]
