"""Retrieval in the shared space, on plain tensors: who is found among the first k, and how that depends on caption length.

Nothing here knows of MMEngine, models or files. A protocol's id changes whenever its numbers could.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

RETRIEVAL_PROTOCOL = "retrieval/recall-v1"
"""R@k: the share of queries with at least one of their truths among the first k by cosine similarity, as CLIP_benchmark counts.
Every caption is searched; of equal scores, a wrong one counts as the first. ``r1``, ``r5``, ``r10`` are the means of both ways."""
DEPTHS = (1, 5, 10)
BLOCK = 1 << 24
"""At most so many scores exist at once."""


def ranks(
    query: Float[Tensor, "queries embed"],
    gallery: Float[Tensor, "gallery embed"],
    query_id: Int[Tensor, " queries"],
    gallery_id: Int[Tensor, " gallery"],
) -> Int[Tensor, " queries"]:
    """Rank, from 1, of the best truth of each query: those of the gallery that share its id, at least one.

    A collapsed or broken encoder gains nothing: equal scores and NaN rank the wrong ones first. (Sorting, as open_clip and
    CLIP_benchmark do, leaves the order of equal scores to chance.)
    """
    rows = max(1, BLOCK // max(1, len(gallery)))
    blocks = zip(query.split(rows), query_id.split(rows), strict=True)
    return torch.cat([_ranks(part @ gallery.T, identity[:, None] == gallery_id) for part, identity in blocks])


def recalls(image_to_text: Int[Tensor, " images"], text_to_image: Int[Tensor, " texts"]) -> dict[str, float]:
    """``i2t_r1``, ``t2i_r1``, ``r1`` (mean of both) and the same for 5 and 10."""
    values: dict[str, float] = {}
    for k in DEPTHS:
        texts, images = (float((found <= k).double().mean()) for found in (image_to_text, text_to_image))
        values |= {f"i2t_r{k}": texts, f"t2i_r{k}": images, f"r{k}": (texts + images) / 2}
    return values


class Group(NamedTuple):
    """Captions of ``shortest`` to ``longest`` words, their ``number`` and the share found first."""

    shortest: int
    longest: int
    number: int
    r1: float


def by_length(words: Int[Tensor, " texts"], found: Float[Tensor, " texts"]) -> list[Group]:
    """R@1 in the quarters of captions by length; captions of one length stay together, so there may be fewer groups.

    ``found`` is 1 for a caption that is found first, 0 for one that is not (0.5: one way of both).
    """
    quarters = torch.bucketize(words.double(), words.double().quantile(torch.linspace(0.25, 0.75, 3, dtype=torch.float64)))
    groups = ((words[quarters == q], found[quarters == q]) for q in quarters.unique())
    return [Group(int(each.min()), int(each.max()), len(each), float(hits.double().mean())) for each, hits in groups]


def distribution(words: Int[Tensor, " texts"]) -> dict[str, float]:
    """``min``, ``median``, ``mean`` and ``max`` of lengths."""
    values = words.double()
    return {
        "min": float(values.min()),
        "median": float(values.quantile(0.5)),
        "mean": float(values.mean()),
        "max": float(values.max()),
    }


def count_words(captions: Sequence[str]) -> Int[Tensor, " texts"]:
    """Words of each caption: what white space separates."""
    return torch.tensor([len(caption.split()) for caption in captions])


def _ranks(scores: Float[Tensor, "queries gallery"], true: Bool[Tensor, "queries gallery"]) -> Int[Tensor, " queries"]:
    best = scores.masked_fill(~true, -torch.inf).amax(1, keepdim=True)
    return (~(scores < best) & ~true).sum(1) + 1
