"""Texts of a batch, packed in the worker without padding, and texts for people."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch

from finevit.contracts import PackedTexts

_SPOILT: dict[int, str | None] = {
    **{code: None for code in (*range(32), *range(127, 160)) if not chr(code).isspace()},
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
}
"""Null bytes and control characters go, half a surrogate pair becomes the replacement character."""


def pack_texts(ids: Sequence[Sequence[int]], limit: int) -> PackedTexts:
    """Token ids of texts, at most ``limit`` each -> one :class:`~finevit.contracts.PackedTexts`."""
    lengths = tuple(len(text) for text in ids)
    assert max(lengths, default=0) <= limit, f"a text of {max(lengths)} tokens, where at most {limit} were asked for"
    return PackedTexts(
        tokens=torch.from_numpy(np.fromiter(chain.from_iterable(ids), np.int64, sum(lengths))),
        offsets=torch.from_numpy(np.cumsum((0, *lengths)).astype(np.int32)),
        lengths=lengths,
        limit=limit,
    )


def cleaned(text: str) -> str:
    """The text on one line, without characters that no tokenizer should see."""
    return " ".join(text.translate(_SPOILT).split())


def printable(text: str) -> str:
    """The text on one line, as any log, terminal or file takes it: what is not printable becomes its escape.

    JSON and the names of files can hold zero bytes, line ends, commands to a terminal and halves of surrogate pairs.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
