"""Packs of dialogues: who may read whom, padding for models that want batches, prompts for generation (paper, Stage III)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from finevit.contracts import NOT_LEARNED, PackedDialogues


def padded(values: Tensor, dialogues: PackedDialogues, fill: float = 0) -> Tensor:
    """``[text, ...]`` -> ``[images, longest, ...]``, filled up at the end."""
    parts = values.split(list(dialogues.lengths))
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=fill)


def packed(values: Tensor, dialogues: PackedDialogues) -> Tensor:
    """``[images, longest, ...]`` -> ``[text, ...]``: what :func:`padded` did, undone."""
    return torch.cat([part[:length] for part, length in zip(values, dialogues.lengths, strict=True)])


def readable(dialogues: PackedDialogues) -> Bool[Tensor, "images longest longest"]:
    """Which token (row) reads which (column): itself and earlier ones of the trunk and of its own branch.

    Filled-up places read themselves alone, so that no row is empty.
    """
    branch = padded(dialogues.branches, dialogues, fill=-1)
    order = torch.arange(branch.shape[1], device=branch.device)
    same = (branch[:, None] == branch[:, :, None]) | ((branch[:, None] == 0) & (branch[:, :, None] > 0))
    return same & (order <= order[:, None])


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
    index = (dialogues.labels != NOT_LEARNED).nonzero()[:, 0]
    before = torch.tensor([0, *dialogues.answers[:-1]], device=index.device).cumsum(0)
    image = torch.bucketize(index, dialogues.offsets[1:].to(index.dtype), right=True)
    return index, before[image] + dialogues.branches[index] - 1


def prompts(embeddings: Float[Tensor, "text dim"], dialogues: PackedDialogues) -> list[Float[Tensor, "length dim"]]:
    """Trunk and question of every branch of every image, without its answer."""
    found = []
    unlearned = dialogues.labels == NOT_LEARNED
    parts = (tensor.split(list(dialogues.lengths)) for tensor in (embeddings, dialogues.branches, unlearned))
    for (part, branch, asked), answers in zip(zip(*parts, strict=True), dialogues.answers, strict=True):
        found += [part[((branch == 0) | (branch == number)) & asked] for number in range(1, answers + 1)]
    return found
