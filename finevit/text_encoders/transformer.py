"""An own small text tower, for data whose captions need no large one (paper, Stage II, has SigLIP2's)."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModule
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from finevit.contracts import TextEncoder
from finevit.hub.origins import mark
from finevit.hub.tokenizers import load_tokenizer
from finevit.layers import Block, Pool, make_pool
from finevit.ops.attention import Pack
from finevit.ops.rope2d import rope_table
from finevit.packing.packs import PackedTexts
from finevit.registry import MODELS

HEADS, THETA = 3, 1000.0


@MODELS.register_module()
class TextTransformer(BaseModule, TextEncoder):
    """Bidirectional transformer over packs of texts, of the same blocks as the image encoder.

    Rotary positions are those of the image encoder with both coordinates equal to the token's place in its text.

    Args:
        tokenizer: name or folder (see :func:`~finevit.hub.tokenizers.load_tokenizer`); ``scenes`` is this package's compact one.
        vocab: number of token ids; None takes the tokenizer's.
        depth: number of blocks.
        dim: width.
        heads: attention heads.
        mlp_dim: width of the feed-forward layers; None is three times ``dim``.
        context: the most tokens of a text.
        pool: ``mean`` (no parameters) or ``attention`` (a learned query).
        rope_theta: base of the rotary wavelengths, in tokens.
        init_cfg: MMEngine's initialisation config.
    """

    def __init__(
        self,
        *,
        tokenizer: str = "scenes",
        vocab: PositiveInt | None = None,
        depth: PositiveInt = 3,
        dim: PositiveInt = 192,
        heads: PositiveInt = HEADS,
        mlp_dim: PositiveInt | None = None,
        context: PositiveInt = 256,
        pool: Pool = "mean",
        rope_theta: PositiveFloat = THETA,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if dim % (4 * heads):
            raise ValueError(f"model.text_encoder.dim={dim}: give a multiple of 4 * heads ({4 * heads})")
        mlp_dim = mlp_dim or 3 * dim
        self.tokenizer, self.dim, self.context = tokenizer, dim, context
        self.head_dim, self.rope_theta = dim // heads, rope_theta
        self.function = {"heads": heads, "rope_theta": rope_theta}
        self.vocab = vocab or load_tokenizer(tokenizer).size
        self.embed = nn.Embedding(self.vocab, dim)
        self.blocks = nn.ModuleList(Block(dim=dim, heads=heads, mlp_dim=mlp_dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pool = make_pool(pool, dim=dim, heads=heads, mlp_dim=mlp_dim)
        self._fill()
        mark(self)

    @staticmethod
    def function_of(config: Mapping[str, Any]) -> dict[str, float]:
        """What decides the tower's function and leaves no trace in the shapes of its weights, of a config."""
        return {"heads": config.get("heads", HEADS), "rope_theta": config.get("rope_theta", THETA)}

    def forward(self, texts: PackedTexts) -> Tensor:
        """``[texts, dim]``: one vector for each text of the pack."""
        if texts.max_seq_len > self.context:
            remedy = f"set model.text_encoder.context={texts.max_seq_len}, or allow no more than {self.context} tokens"
            raise ValueError(f"max_seq_len={texts.max_seq_len}: this text encoder reads {self.context} tokens; {remedy}")
        x = self.embed(texts.tokens)
        table = rope_table(_places(texts)[:, None].expand(-1, 2), self.head_dim, self.rope_theta, x.dtype)
        pack = Pack(texts.cu_seqlens, texts.seqlens, table)
        for block in self.blocks:
            x = block(x, pack)
        return self.pool(self.norm(x), pack)

    def describe(self) -> str:
        """One line for people: which model, from where, how large."""
        size = sum(parameter.numel() for parameter in self.parameters()) / 1e6
        kind = f"transformer of its own, {len(self.blocks)} blocks of width {self.dim}, {size:.1f} M parameters"
        return f"{kind}, tokenizer {self.tokenizer} of {self.embed.num_embeddings:,} ids, up to {self.context} tokens"

    def _fill(self) -> None:
        """Unit embeddings; else as the image encoder: variance 1 / fan-in, what writes to the residual stream scaled down."""
        nn.init.normal_(self.embed.weight)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and name != "embed.weight":
                residual = name.endswith(("out.weight", "down.weight"))
                fan = parameter.shape[-1] * (2 * len(self.blocks) if residual else 1)
                nn.init.trunc_normal_(parameter, std=fan**-0.5)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)


def _places(texts: PackedTexts) -> Tensor:
    """``[text]``: where each token stands in its text, from 0."""
    total = len(texts.tokens)
    starts = texts.cu_seqlens[:-1].repeat_interleave(torch.diff(texts.cu_seqlens), output_size=total)
    return torch.arange(total, device=texts.tokens.device) - starts
