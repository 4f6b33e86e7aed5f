"""The encoder's building blocks: SwiGLU, rotary ragged attention, the pre-norm block, pooling (paper, encoder section)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from finevit.ops import cpu_fused
from finevit.ops.attention import Pack, ragged_attention
from finevit.ops.rope2d import rotate


class SwiGLU(nn.Module):
    """Gated feed-forward ``down(silu(gate x) * up x)``: three matrices of ``dim x mlp_dim``, no biases."""

    def __init__(self, *, dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(dim, 2 * mlp_dim, bias=False)
        self.down = nn.Linear(mlp_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if cpu_fused.suits(x, self.gate_up, self.down):
            return cpu_fused.swiglu(x, self.gate_up.weight, self.down.weight)
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(silu(gate) * up)


class Attention(nn.Module):
    """Multi-head self-attention within each image of a pack, with rotary positions; four matrices of ``dim x dim``."""

    def __init__(self, *, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, pack: Pack) -> Tensor:
        if cpu_fused.suits(x, self.qkv):
            return self.out(cpu_fused.attention(x, self.qkv, heads=self.heads, table=pack.table, lengths=pack.seqlens))
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(1)
        query, key = (rotate(x, pack.table).to(value.dtype) for x in (query, key))  # an embedding's table is float32 under autocast
        return self.out(ragged_attention(query, key, value, pack).flatten(1))


class Block(nn.Module):
    """Pre-norm transformer block: ``x + attention(norm x)``, then ``x + feed_forward(norm x)``; ``[patches, dim]`` in and out."""

    keep: Tensor | None

    def __init__(self, *, dim: int, heads: int, mlp_dim: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = Attention(dim=dim, heads=heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.feed_forward = SwiGLU(dim=dim, mlp_dim=mlp_dim)
        keep = torch.tensor(1.0 - drop_path) if drop_path else None  # a number would make a graph of torch.compile for each
        self.register_buffer("keep", keep, persistent=False)

    def forward(self, x: Tensor, pack: Pack) -> Tensor:
        x = x + self._drop(self.attention(self.norm1(x), pack), pack)
        return x + self._drop(self.feed_forward(self.norm2(x)), pack)

    def _drop(self, branch: Tensor, pack: Pack) -> Tensor:
        """Stochastic depth: drops the branch for whole images, in training."""
        if not self.training or self.keep is None:
            return branch
        lengths = torch.diff(pack.cu_seqlens)
        kept = torch.rand(len(lengths), device=branch.device).lt(self.keep) / self.keep
        return branch * kept.to(branch.dtype).repeat_interleave(lengths, output_size=len(branch))[:, None]


class MeanPool(nn.Module):
    """The mean of an image's tokens: ``[patches, dim]`` -> ``[images, dim]``."""

    def forward(self, tokens: Tensor, pack: Pack) -> Tensor:
        return torch.stack([part.mean(0) for part in tokens.split(list(pack.seqlens))])


class AttentionPool(nn.Module):
    """A learned query attends to an image's tokens, then a residual SwiGLU, as in SigLIP's head: ``[images, dim]``."""

    def __init__(self, *, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.zeros(1, heads, dim // heads))
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.feed_forward = SwiGLU(dim=dim, mlp_dim=mlp_dim)

    def forward(self, tokens: Tensor, pack: Pack) -> Tensor:
        key, value = self.key_value(tokens).unflatten(-1, (2, self.heads, -1)).unbind(1)
        score = (key * self.query).sum(-1, keepdim=True) * key.shape[-1] ** -0.5
        parts = zip(score.split(list(pack.seqlens)), value.split(list(pack.seqlens)), strict=True)
        x = self.out(torch.stack([(s.softmax(0) * v).sum(0) for s, v in parts]).flatten(1))
        return x + self.feed_forward(self.norm(x))


Pool = Literal["mean", "attention"]


def make_pool(name: Pool, *, dim: int, heads: int, mlp_dim: int) -> nn.Module:
    """``mean`` (no parameters) or ``attention`` (a learned query)."""
    return MeanPool() if name == "mean" else AttentionPool(dim=dim, heads=heads, mlp_dim=mlp_dim)
