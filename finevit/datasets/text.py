"""Packs the token ids of a batch's texts into one sequence, in the worker: no padding."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch

from finevit.contracts import PackedTexts


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
