"""Packs of dialogues: who may read whom, padding for models that want batches, prompts for generation (paper, Stage III)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from finevit.packing.packs import IGNORE_INDEX, PackedDialogues


def rows(seqlens: Sequence[int]) -> list[list[int]]:
    """Which images share a row: the longest dialogue fills one, shorter ones go where they fit, the longest of them first."""
    room = max(seqlens)
    found: list[list[int]] = []
    left: list[int] = []
    for image in sorted(range(len(seqlens)), key=lambda index: (-seqlens[index], index)):
        row = next((row for row, space in enumerate(left) if space >= seqlens[image]), len(left))
        if row == len(left):
            left.append(room)
            found.append([])
        left[row] -= seqlens[image]
        found[row].append(image)
    return found


def padded(values: Tensor, dialogues: PackedDialogues, fill: float = 0) -> Tensor:
    """``[text, ...]`` -> ``[rows, length, ...]``: short dialogues share a row (:func:`rows`), which is filled up at the end."""
    parts = values.split(list(dialogues.seqlens))
    joined = [torch.cat([parts[image] for image in row]) for row in rows(dialogues.seqlens)]
    return torch.nn.utils.rnn.pad_sequence(joined, batch_first=True, padding_value=fill)


def packed(values: Tensor, dialogues: PackedDialogues) -> Tensor:
    """``[rows, length, ...]`` -> ``[text, ...]``: what :func:`padded` did, undone."""
    seqlens = dialogues.seqlens
    found: dict[int, Tensor] = {}
    for part, row in zip(values, rows(seqlens), strict=True):
        there = [seqlens[image] for image in row]
        found.update(zip(row, part[: sum(there)].split(there), strict=True))
    return torch.cat([found[image] for image in range(len(seqlens))])


def attention_mask(dialogues: PackedDialogues) -> Bool[Tensor, "rows length length"]:
    """Which token (row) reads which (column): itself and earlier ones of its own image's prefix and of its own segment.

    Padding reads itself alone, so that no row is empty.
    """
    here = torch.arange(len(dialogues.segment_ids), device=dialogues.segment_ids.device)
    image = padded(torch.bucketize(here, dialogues.cu_seqlens[1:].to(here.dtype), right=True), dialogues, fill=-1)
    segment = padded(dialogues.segment_ids, dialogues)
    order = torch.arange(segment.shape[1], device=segment.device)
    mine = (image[:, None] == image[:, :, None]) & ((segment[:, None] == segment[:, :, None]) | (segment[:, None] == 0))
    return mine & (order <= order[:, None]) & (image >= 0)[:, :, None] | (order == order[:, None])


def answer_loss(
    logits: Float[Tensor, "supervised vocab"], labels: Int[Tensor, " supervised"], answer: Int[Tensor, " supervised"], count: int
) -> Float[Tensor, ""]:
    """Mean over ``count`` answers of each answer's mean cross-entropy: what the answers give alone, averaged.

    ``answer`` is the index, from 0, of the answer that each supervised token belongs to.
    """
    each = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
    sums = each.new_zeros(count).index_add(0, answer, each)
    return (sums / each.new_zeros(count).index_add(0, answer, torch.ones_like(each))).mean()


def supervised(dialogues: PackedDialogues) -> tuple[Int[Tensor, " supervised"], Int[Tensor, " supervised"]]:
    """Indices of the supervised tokens, and for each the answer that it belongs to, counted over the whole pack."""
    index = torch.nonzero_static(dialogues.labels != IGNORE_INDEX, size=dialogues.supervised)[:, 0]
    begins = (dialogues.segment_ids > 0) & (
        dialogues.segment_ids != dialogues.segment_ids.roll(1)
    )  # every image begins with a prefix
    return index, begins.cumsum(0)[index] - 1


def prompts(embeddings: Float[Tensor, "text dim"], dialogues: PackedDialogues) -> list[Float[Tensor, "length dim"]]:
    """Prefix and question of every segment of every image, without its answer."""
    found = []
    ignored = dialogues.labels == IGNORE_INDEX
    parts = (tensor.split(list(dialogues.seqlens)) for tensor in (embeddings, dialogues.segment_ids, ignored))
    for (part, segment, prompt), answers in zip(zip(*parts, strict=True), dialogues.answers, strict=True):
        found += [part[((segment == 0) | (segment == number)) & prompt] for number in range(1, answers + 1)]
    return found
