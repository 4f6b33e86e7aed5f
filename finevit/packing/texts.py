"""Texts of a batch, packed in the worker without padding."""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import torch

from finevit.packing.images import cu_seqlens
from finevit.packing.packs import PackedTexts

_SPOILT: dict[int, str | None] = {
    **{code: None for code in (*range(32), *range(127, 160)) if not chr(code).isspace()},
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
}
"""Null bytes and control characters go, half a surrogate pair becomes the replacement character."""


def pack_texts(ids: Sequence[Sequence[int]], max_seq_len: int) -> PackedTexts:
    """Token ids of texts, at most ``max_seq_len`` each -> one :class:`~finevit.packing.packs.PackedTexts`."""
    seqlens = tuple(len(text) for text in ids)
    longest = max(seqlens, default=0)
    assert longest <= max_seq_len, f"a text of {longest} tokens, where at most {max_seq_len} were asked for"
    return PackedTexts(
        tokens=torch.from_numpy(np.fromiter(chain.from_iterable(ids), np.int64, sum(seqlens))),
        cu_seqlens=cu_seqlens(seqlens),
        seqlens=seqlens,
        max_seq_len=max_seq_len,
    )


def split_texts(texts: PackedTexts, size: int) -> Iterator[PackedTexts]:
    """Packs of at most ``size`` consecutive texts."""
    start = 0
    for first in range(0, len(texts.seqlens), size):
        seqlens = texts.seqlens[first : first + size]
        end = start + sum(seqlens)
        offsets = texts.cu_seqlens[first : first + len(seqlens) + 1] - start
        yield PackedTexts(texts.tokens[start:end], offsets, seqlens, texts.max_seq_len)
        start = end


def cleaned(text: str) -> str:
    """The text on one line, without characters that no tokenizer should see."""
    return " ".join(text.translate(_SPOILT).split())
