"""Feed-forward and attention of a block with their gradients written out, for a CPU without a compiler.

Step by step, autograd keeps each result and passes over the memory for each operation. Here a feed-forward goes through a few rows
at a time, which stay in the cache, and keeps one of its four intermediates; queries and keys are rotated where they are, and their
gradients are written where the next product reads them. Outputs and gradients are those of the steps, but for rounding.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from finevit.ops.attention import FEW

ROWS = 512
"""Rows that a feed-forward works on at a time."""
Table = tuple[Float[Tensor, "patches 1 half"], Float[Tensor, "patches 1 half"]]
_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_attend_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def suits(x: Tensor, *layers: nn.Linear) -> bool:
    """Whether these functions may take the place of the layers: on a CPU, where nobody records, replaces or watches the layers."""
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()  # exports, and whoever counts by tracing
    return x.device.type == "cpu" and not recorded and all(map(_is_plain, layers))


def _is_plain(layer: nn.Linear) -> bool:
    watched = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return type(layer) is nn.Linear and not any(watched)


def swiglu(
    x: Float[Tensor, "patches dim"],
    gate_up: Float[Tensor, "twice_hidden dim"],
    down: Float[Tensor, "dim hidden"],
) -> Float[Tensor, "patches dim"]:
    """``down(silu(gate x) * up x)``, in the precision of autocast where that is on. Keeps ``gate x`` and ``up x``."""
    return _SwiGLU.apply(x, gate_up, down, _precision(x))


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate_up: Tensor, down: Tensor, dtype: torch.dtype) -> Tensor:
        x, wide, narrow = x.to(dtype), gate_up.to(dtype), down.to(dtype)
        output = x.new_empty(len(x), len(down))
        kept = []
        for rows, result in zip(x.split(ROWS), output.split(ROWS), strict=True):
            both = rows @ wide.T
            gate, up = both.chunk(2, dim=-1)
            torch.mm(silu(gate).mul_(up), narrow.T, out=result)
            kept.append(both)
        ctx.save_for_backward(x, gate_up, down, *kept)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gate_up, down, *kept = ctx.saved_tensors
        wide, narrow = gate_up.to(x.dtype), down.to(x.dtype)
        x_grad = torch.empty_like(x)
        gate_up_grad, down_grad = (_zeros(ctx, index, weight) for index, weight in ((1, gate_up), (2, down)))
        for rows, both, upper, result in zip(x.split(ROWS), kept, grad.split(ROWS), x_grad.split(ROWS), strict=True):
            gate, up = both.chunk(2, dim=-1)
            product, active, both_grad = upper @ narrow, silu(gate), torch.empty_like(both)
            gate_grad, up_grad = both_grad.chunk(2, dim=-1)
            torch.mul(product, active, out=up_grad)
            torch.ops.aten.silu_backward.grad_input(product.mul_(up), gate, grad_input=gate_grad)
            _add_product(down_grad, upper.T, active.mul_(up))
            _add_product(gate_up_grad, both_grad.T, rows)
            torch.mm(both_grad, wide, out=result)
        return x_grad, gate_up_grad, down_grad, None


def attention(
    x: Float[Tensor, "patches dim"],
    qkv: nn.Linear,
    *,
    heads: int,
    table: Table,
    lengths: Sequence[int],
) -> Float[Tensor, "patches dim"]:
    """Rotary attention of every patch to those of its own image, in the precision of autocast where that is on.

    Keeps queries, keys and values, rotated, and the output.
    """
    return _Attention.apply(x, qkv.weight, qkv.bias, heads, *table, tuple(lengths), _precision(x))


class _Attention(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        heads: int,
        cos: Tensor,
        sin: Tensor,
        lengths: Sequence[int],
        dtype: torch.dtype,
    ) -> Tensor:
        x = x.to(dtype)
        qkv = torch.addmm(bias.to(dtype), x, weight.to(dtype).T).unflatten(1, (3, heads, -1))
        _turn(qkv[:, :2], cos, sin)
        output, sums = torch.empty_like(qkv[:, 0]), []
        for rows, shape in _alike(lengths):
            result, total = _attend(*_by_head(qkv[rows].unflatten(0, shape)))
            output[rows].unflatten(0, shape).copy_(result.transpose(1, 2))
            sums.append(total)
        ctx.save_for_backward(x, weight, qkv, output, cos, sin, *sums)
        ctx.seqlens = lengths
        return output.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, qkv, output, cos, sin, *sums = ctx.saved_tensors
        grad, qkv_grad = grad.reshape(output.shape), torch.empty_like(qkv)
        for (rows, shape), total in zip(_alike(ctx.seqlens), sums, strict=True):
            upper, out = (each[rows].unflatten(0, shape).transpose(1, 2) for each in (grad, output))
            three = _by_head(qkv[rows].unflatten(0, shape))
            slow = upper.dtype == torch.bfloat16 and shape[1] <= FEW
            grads = _by_products(upper, *three) if slow else _attend_backward(upper, *three, out, total, 0.0, False)
            for place, part in zip(_by_head(qkv_grad[rows].unflatten(0, shape)), grads, strict=True):
                place.copy_(part)
        _turn(qkv_grad[:, :2], cos, sin.neg())
        rows_grad = qkv_grad.flatten(1)
        weight_grad = rows_grad.T @ x if ctx.needs_input_grad[1] else None
        bias_grad = rows_grad.sum(0) if ctx.needs_input_grad[2] else None
        return rows_grad @ weight.to(x.dtype), weight_grad, bias_grad, *[None] * 5


def _precision(x: Tensor) -> torch.dtype:
    """That of autocast where it is on."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def _zeros(ctx: Any, index: int, weight: Tensor) -> Tensor | None:
    """Where the gradient of an input is summed up, if anyone asks for it."""
    return torch.zeros_like(weight) if ctx.needs_input_grad[index] else None


def _add_product(total: Tensor | None, left: Tensor, right: Tensor) -> None:
    """Adds ``left @ right``, in the precision of ``total``."""
    if total is not None and total.dtype == left.dtype:
        torch.addmm(total, left, right, out=total)  # what counts FLOPs does not know addmm_
    elif total is not None:
        total.add_(left @ right)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotates ``[patches, 2, heads, dim]`` where it is: :func:`finevit.ops.rope2d.rotate`."""
    for rows, *turn in zip(x.split(ROWS), cos.split(ROWS), sin.split(ROWS), strict=True):
        (a, b), (c, s) = rows.chunk(2, dim=-1), (each[:, None] for each in turn)
        crossed = a * s
        a.mul_(c).addcmul_(b, s, value=-1)
        b.mul_(c).add_(crossed)


def _alike(lengths: Sequence[int]) -> Iterator[tuple[slice, tuple[int, int]]]:
    """Neighbouring images of one length: their rows, and how many of which length."""
    begin = 0
    for length, group in groupby(lengths):
        count = len(list(group))
        yield slice(begin, begin + count * length), (count, length)
        begin += count * length


def _by_head(qkv: Tensor) -> tuple[Tensor, ...]:
    """``[images, patches, 3, heads, dim]`` -> three views ``[images, heads, patches, dim]``."""
    return qkv.permute(2, 0, 3, 1, 4).unbind()


def _by_products(grad: Tensor, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    """Gradients of attention to queries, keys and values, by products of whole matrices; all ``[images, heads, patches, dim]``."""
    scale = query.shape[-1] ** -0.5
    weights = torch.softmax(query @ key.transpose(2, 3) * scale, dim=-1)
    scores = torch.ops.aten._softmax_backward_data(grad @ value.transpose(2, 3), weights, -1, weights.dtype).mul_(scale)
    return scores @ key, scores.transpose(2, 3) @ query, weights.transpose(2, 3) @ grad
