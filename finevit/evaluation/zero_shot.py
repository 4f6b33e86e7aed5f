"""Zero-shot classification on plain tensors: a classifier out of prompts, and its accuracy (evaluation of Stage II).

What is asked is in ``finevit.evaluation.prompts``; nothing here knows of MMEngine or models.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

Encode = Callable[[Sequence[str]], Float[Tensor, "texts embed"]]
TEXTS = 256
"""About so many prompts are encoded at once."""


@torch.no_grad()
def classifier(encode: Encode, prompts: Sequence[Sequence[str]]) -> Float[Tensor, "classes embed"]:
    """A unit vector of each class: the mean of its prompts' unit vectors. Classes have equally many prompts, in order."""
    each = len(prompts[0])
    count = max(1, TEXTS // each)
    parts = []
    for start in range(0, len(prompts), count):
        texts = [text for own in prompts[start : start + count] for text in own]
        parts.append(normalize(encode(texts).float(), dim=-1).unflatten(0, (-1, each)).mean(1))
    return normalize(torch.cat(parts), dim=-1)


def class_ranks(
    image: Float[Tensor, "images embed"], weights: Float[Tensor, "classes embed"], labels: Int[Tensor, " images"]
) -> Int[Tensor, " images"]:
    """Rank, from 1, of each image's true class.

    Of equal scores the class with the smaller label ranks first, as in argmax: ImageNet has two classes called ``missile`` and two
    called ``sunglasses``. NaN ranks before the truth.
    """
    scores = image @ weights.T
    truth = scores.gather(1, labels[:, None])
    earlier = torch.arange(len(weights), device=labels.device) < labels[:, None]
    other = torch.arange(len(weights), device=labels.device) != labels[:, None]
    return (other & (~(scores <= truth) | (earlier & (scores == truth)))).sum(1) + 1


def best_ranks(
    image: Float[Tensor, "images embed"], weights: Float[Tensor, "classes embed"], labels: Sequence[Sequence[int]]
) -> Int[Tensor, " images"]:
    """Rank of the true class that ranks first, where an image has one or several (ReaL: the answer may be any of them)."""
    counts = torch.tensor([len(own) for own in labels], device=image.device)
    flat = torch.tensor([label for own in labels for label in own], device=image.device)
    each = class_ranks(image.repeat_interleave(counts, dim=0), weights, flat)
    return torch.stack([ranks.min() for ranks in each.split(counts.tolist())])


class Accuracy(NamedTuple):
    """Shares of images whose true class is the first, or among the first five; ``balanced``: top-1, mean over classes, NaN where
    images have several."""

    top1: float
    top5: float
    balanced: float


def accuracy(ranks: Int[Tensor, " images"], labels: Int[Tensor, " images"] | None) -> Accuracy:
    """Accuracies out of ranks; classes without an image do not count. Without ``labels``, images have several."""
    first, fifth = (ranks == 1).double(), float((ranks <= 5).double().mean())
    if labels is None:
        return Accuracy(float(first.mean()), fifth, float("nan"))
    per_class = [first[labels == label].mean() for label in labels.unique()]
    return Accuracy(float(first.mean()), fifth, float(torch.stack(per_class).mean()))
