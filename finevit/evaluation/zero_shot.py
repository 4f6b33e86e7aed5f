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


class Accuracy(NamedTuple):
    """Shares of images whose true class is the first, or among the first five; ``balanced``: top-1, mean over classes."""

    top1: float
    top5: float
    balanced: float


def accuracy(ranks: Int[Tensor, " images"], labels: Int[Tensor, " images"]) -> Accuracy:
    """Accuracies out of :func:`class_ranks`; classes without an image do not count."""
    first = (ranks == 1).double()
    per_class = [first[labels == label].mean() for label in labels.unique()]
    return Accuracy(float(first.mean()), float((ranks <= 5).double().mean()), float(torch.stack(per_class).mean()))
