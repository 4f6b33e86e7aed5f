"""Text towers and tokenizers as they travel with exported weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from finevit.hub.spelling import Spelling

from .encoder_finevit import AttentionPool, Block, MeanPool, rope_table

CHARACTERS = 32
"""A text is cut after so many characters for each token that it may have."""


class TextTower(nn.Module):
    """FineViT's own text transformer: ``[batch, length]`` token ids -> ``[batch, dim]``.

    Args:
        vocab: number of token ids.
        depth: number of blocks.
        dim: width.
        heads: attention heads.
        mlp_dim: width of the feed-forward layers.
        pool: ``mean`` or ``attention``.
        rope_theta: base of the rotary wavelengths, in tokens.
        pad: the id that fills up a batch, on the right.
    """

    def __init__(
        self, *, vocab: int, depth: int, dim: int, heads: int, mlp_dim: int, pool: str, rope_theta: float, pad: int
    ) -> None:
        super().__init__()
        self.dim, self.head_dim, self.rope_theta, self.pad = dim, dim // heads, rope_theta, pad
        self.embed = nn.Embedding(vocab, dim)
        self.blocks = nn.ModuleList(Block(dim=dim, heads=heads, mlp_dim=mlp_dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pool = AttentionPool(dim=dim, heads=heads, mlp_dim=mlp_dim) if pool == "attention" else MeanPool()

    def forward(self, tokens: Tensor) -> Tensor:
        mask = read(tokens, self.pad, left=False)
        x = self.embed(tokens.clamp(min=0))
        places = torch.arange(tokens.shape[1], device=tokens.device)[:, None].expand(-1, 2)
        table = rope_table(places, self.head_dim, self.rope_theta, x.dtype)
        for block in self.blocks:
            x = block(x, table, mask=mask[:, None, None])
        return self.pool(self.norm(x), mask)


class TransformersTower(nn.Module):
    """A text tower of Hugging Face Transformers.

    Args:
        tower_class: its class.
        config_class: that of its config.
        dim: width of its vectors.
        pooled: it gives one vector for a text itself; else the mean of its tokens is taken.
        padded: it was trained on texts padded to the full length, without a mask.
        pad: the id that fills up a batch.
        left: on the left.
        folder: holds ``text/config.json``.
    """

    def __init__(
        self, *, tower_class: str, config_class: str, dim: int, pooled: bool, padded: bool, pad: int, left: bool, folder: str | Path
    ) -> None:
        super().__init__()
        import transformers

        config = getattr(transformers, config_class).from_pretrained(Path(folder) / "text")
        self.tower = getattr(transformers, tower_class)(config)
        self.dim, self.pooled, self.padded, self.pad, self.left = dim, pooled, padded, pad, left
        if not pooled and getattr(self.tower, "pooler", None) is not None:
            self.tower.pooler = None

    def forward(self, tokens: Tensor) -> Tensor:
        mask = read(tokens, self.pad, left=self.left)
        ids = tokens.clamp(min=0)
        output = self.tower(input_ids=ids, attention_mask=None if self.padded else mask.long())
        if self.pooled:
            return output.pooler_output
        weight = mask[:, :, None].to(output.last_hidden_state.dtype)
        return (output.last_hidden_state * weight).sum(1) / weight.sum(1)


class Tokenizer:
    """Texts -> token ids ``[texts, context_length]``; what looks like a special token is text.

    Args:
        folder: holds the files of the tokenizer in ``tokenizer/``.
        context_length: tokens of a text, at most; shorter ones are filled up.
        pad: with this id.
        left: on the left.
        plain: ``tokenizer.json`` describes it in full.
        lower: texts are in lower case first.
    """

    def __init__(self, *, folder: str | Path, context_length: int, pad: int, left: bool, plain: bool, lower: bool) -> None:
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        self.backend = (PreTrainedTokenizerFast if plain else AutoTokenizer).from_pretrained(Path(folder) / "tokenizer")
        self.spelling = Spelling(self.backend)
        self.context_length, self.pad, self.left, self.lower = context_length, pad, left, lower
        candidates = (self.backend.pad_token_id, self.backend.eos_token_id, self.backend.unk_token_id, 0)
        self.empty = next(each for each in candidates if each is not None)

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> Tensor:
        limit = context_length or self.context_length
        many = [texts] if isinstance(texts, str) else list(texts)
        cut = [text[: limit * CHARACTERS].encode(errors="replace").decode() for text in many]
        cut = [text.lower() for text in cut] if self.lower else cut
        found, _ = self.spelling.encode(cut, limit) if many else ([], [])
        ids = torch.full((len(many), limit), self.pad)
        for row, each in zip(ids, found, strict=True):
            values = torch.tensor(each or [self.empty])
            row[limit - len(values) if self.left else 0 :][: len(values)] = values
        return ids


def read(tokens: Tensor, pad: int, *, left: bool) -> Tensor:
    """``[batch, length]``: which places hold a text; of an empty one the first is read."""
    mask = tokens != pad
    mask[:, -1 if left else 0] = True
    return mask
