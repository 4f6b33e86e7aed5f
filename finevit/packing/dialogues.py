"""Packs of dialogues: who may read whom, padding for models that want batches, prompts for generation (paper, Stage III)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from finevit.contracts import NOT_LEARNED, PackedDialogues


def rows(lengths: Sequence[int]) -> list[list[int]]:
    """Which images share a row: the longest dialogue fills one, shorter ones go where they fit, the longest of them first."""
    room = max(lengths)
    found: list[list[int]] = []
    left: list[int] = []
    for image in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        row = next((row for row, space in enumerate(left) if space >= lengths[image]), len(left))
        if row == len(left):
            left.append(room)
            found.append([])
        left[row] -= lengths[image]
        found[row].append(image)
    return found


def padded(values: Tensor, dialogues: PackedDialogues, fill: float = 0) -> Tensor:
    """``[text, ...]`` -> ``[rows, longest, ...]``: short dialogues share a row (:func:`rows`), which is filled up at the end."""
    parts = values.split(list(dialogues.lengths))
    joined = [torch.cat([parts[image] for image in row]) for row in rows(dialogues.lengths)]
    return torch.nn.utils.rnn.pad_sequence(joined, batch_first=True, padding_value=fill)


def packed(values: Tensor, dialogues: PackedDialogues) -> Tensor:
    """``[rows, longest, ...]`` -> ``[text, ...]``: what :func:`padded` did, undone."""
    lengths = dialogues.lengths
    found: dict[int, Tensor] = {}
    for part, row in zip(values, rows(lengths), strict=True):
        there = [lengths[image] for image in row]
        found.update(zip(row, part[: sum(there)].split(there), strict=True))
    return torch.cat([found[image] for image in range(len(lengths))])


def readable(dialogues: PackedDialogues) -> Bool[Tensor, "rows longest longest"]:
    """Which token (row) reads which (column): itself and earlier ones of its own image's trunk and of its own branch.

    Filled-up places read themselves alone, so that no row is empty.
    """
    here = torch.arange(len(dialogues.branches), device=dialogues.branches.device)
    image = padded(torch.bucketize(here, dialogues.offsets[1:].to(here.dtype), right=True), dialogues, fill=-1)
    branch = padded(dialogues.branches, dialogues)
    order = torch.arange(branch.shape[1], device=branch.device)
    mine = (image[:, None] == image[:, :, None]) & ((branch[:, None] == branch[:, :, None]) | (branch[:, None] == 0))
    return mine & (order <= order[:, None]) & (image >= 0)[:, :, None] | (order == order[:, None])


def answer_loss(
    logits: Float[Tensor, "learned vocab"], labels: Int[Tensor, " learned"], answer: Int[Tensor, " learned"], count: int
) -> Float[Tensor, ""]:
    """Mean over ``count`` answers of each answer's mean cross-entropy: what the answers give alone, averaged.

    ``answer`` is the index, from 0, of the answer that each learned token belongs to.
    """
    each = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
    sums = each.new_zeros(count).index_add(0, answer, each)
    return (sums / each.new_zeros(count).index_add(0, answer, torch.ones_like(each))).mean()


def learned(dialogues: PackedDialogues) -> tuple[Int[Tensor, " learned"], Int[Tensor, " learned"]]:
    """Indices of the tokens that are learned, and for each the answer that it belongs to, counted over the whole pack."""
    index = torch.nonzero_static(dialogues.labels != NOT_LEARNED, size=dialogues.learned)[:, 0]
    begins = (dialogues.branches > 0) & (dialogues.branches != dialogues.branches.roll(1))  # every image begins with a trunk
    return index, begins.cumsum(0)[index] - 1


def prompts(embeddings: Float[Tensor, "text dim"], dialogues: PackedDialogues) -> list[Float[Tensor, "length dim"]]:
    """Trunk and question of every branch of every image, without its answer."""
    found = []
    unlearned = dialogues.labels == NOT_LEARNED
    parts = (tensor.split(list(dialogues.lengths)) for tensor in (embeddings, dialogues.branches, unlearned))
    for (part, branch, asked), answers in zip(zip(*parts, strict=True), dialogues.answers, strict=True):
        found += [part[((branch == 0) | (branch == number)) & asked] for number in range(1, answers + 1)]
    return found
