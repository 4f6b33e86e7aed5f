"""A small decoder in plain PyTorch, without Hugging Face: shows that the contract of alignment LLMs does not lean on it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from finevit.contracts import AlignmentLLM
from finevit.hub.chat_templates import load_chat
from finevit.hub.origins import mark
from finevit.ops.rope2d import rope_table, rotate
from finevit.packing.dialogues import attention_mask, packed, padded
from finevit.packing.packs import PackedDialogues

Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of each block, ``[batch, heads, positions, dim]``."""

HEADS = 4


class _Block(nn.Module):
    """Pre-norm block with rotary positions and SwiGLU."""

    def __init__(self, *, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.gate_up, self.down = nn.Linear(dim, 2 * mlp_dim, bias=False), nn.Linear(mlp_dim, dim, bias=False)

    def forward(
        self, x: Tensor, table: tuple[Tensor, Tensor], mask: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, length = x.shape[:2]
        query, key, value = self.qkv(self.norm1(x)).flatten(0, 1).unflatten(-1, (3, self.heads, -1)).unbind(1)
        query, key = rotate(query, table), rotate(key, table)
        query, key, value = (each.unflatten(0, (batch, length)).transpose(1, 2) for each in (query, key, value))
        if past is not None:
            key, value = torch.cat((past[0], key), 2), torch.cat((past[1], value), 2)
        x = x + self.out(scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None]).transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(silu(gate) * up), (key, value)


class PlainLLM(AlignmentLLM):
    """A decoder of random weights.

    Args:
        tokenizer: name or folder of a tokenizer with its chat template.
        depth: number of blocks.
        dim: width.
        heads: attention heads.
        mlp_dim: width of the feed-forward layers; None is three times ``dim``.
        context: the most positions of a dialogue.
    """

    def __init__(
        self,
        *,
        tokenizer: str = "scenes-chat",
        depth: PositiveInt = 4,
        dim: PositiveInt = 256,
        heads: PositiveInt = HEADS,
        mlp_dim: PositiveInt | None = None,
        context: PositiveInt = 1024,
    ) -> None:
        super().__init__()
        if dim % (4 * heads):
            raise ValueError(f"model.llm.dim={dim}: give a multiple of 4 * heads ({4 * heads})")
        self.dim, self.context, self.tokenizer, self.head_dim = dim, context, tokenizer, dim // heads
        self.embedding = nn.Embedding(load_chat(tokenizer).size, dim)
        self.blocks = nn.ModuleList(_Block(dim=dim, heads=heads, mlp_dim=mlp_dim or 3 * dim) for _ in range(depth))
        self.norm, self.predict = nn.LayerNorm(dim), nn.Linear(dim, self.embedding.num_embeddings, bias=False)
        self._fill()
        self.function = {"heads": heads}
        mark(self)

    @staticmethod
    def function_of(config: Mapping[str, Any]) -> dict[str, int]:
        """What decides the decoder's function and leaves no trace in the shapes of its weights, of a config."""
        return {"heads": config.get("heads", HEADS)}

    def embed(self, tokens: Tensor) -> Tensor:
        """``[text]`` token ids -> ``[text, dim]``."""
        return self.embedding(tokens)

    def forward(self, embeddings: Tensor, dialogues: PackedDialogues) -> Tensor:
        """``[text, dim]`` -> ``[text, dim]``, as the contract says."""
        x, _ = self._run(padded(embeddings, dialogues), padded(dialogues.position_ids, dialogues), attention_mask(dialogues), None)
        return packed(x, dialogues)

    def logits(self, hidden: Tensor) -> Tensor:
        """``[n, dim]`` -> ``[n, vocab]``."""
        return self.predict(hidden)

    @torch.no_grad()
    def generate(self, prompts: Sequence[Tensor], *, max_new_tokens: int, stop: int) -> list[list[int]]:
        """Greedy answers, one token of all prompts at a time; keys and values of what was read are kept."""
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=prompts[0].device)
        x = nn.utils.rnn.pad_sequence([prompt.flip(0) for prompt in prompts], batch_first=True).flip(1)
        begins = x.shape[1] - lengths[:, None]
        order = torch.arange(x.shape[1] + max_new_tokens, device=x.device)
        position_ids, cache, rows = order[None] - begins, None, []
        for _ in range(max_new_tokens):
            end = x.shape[1] if cache is None else cache[0][0].shape[2] + 1
            queries = order[end - x.shape[1] : end]
            mask = (order[None, None, :end] >= begins[:, :, None]) & (order[:end] <= queries[:, None])
            x, cache = self._run(x, position_ids[:, queries].clamp(min=0), mask | (order[:end] == queries[:, None]), cache)
            rows.append(self.logits(x[:, -1]).argmax(-1))
            if bool((torch.stack(rows) == stop).any(0).all()):
                break
            x = self.embed(rows[-1])[:, None]
        found = torch.stack(rows, 1).tolist()
        return [row[: row.index(stop)] if stop in row else row for row in found]

    def describe(self) -> str:
        """One line for people: which model, from where, how large, what of it is trained."""
        size = sum(parameter.numel() for parameter in self.parameters()) / 1e6
        return (
            f"plain decoder, {len(self.blocks)} blocks of width {self.dim}, {size:.1f} M parameters, up to {self.context} positions"
        )

    def _run(self, x: Tensor, places: Tensor, mask: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """``[batch, length, dim]`` through the blocks; the cache grows by what was read."""
        table = rope_table(places.flatten()[:, None].expand(-1, 2), self.head_dim, 1000.0, x.dtype)
        grown = []
        for index, block in enumerate(self.blocks):
            x, kept = block(x, table, mask, None if cache is None else cache[index])
            grown.append(kept)
        return self.norm(x), grown

    def _fill(self) -> None:
        """Unit embeddings; else variance 1 / fan-in, what writes to the residual stream scaled down by the depth (GPT-2)."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and name != "embedding.weight":
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.trunc_normal_(parameter, std=(parameter.shape[-1] * (2 * len(self.blocks) if residual else 1)) ** -0.5)
