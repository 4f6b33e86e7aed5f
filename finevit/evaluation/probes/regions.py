"""Regions by their features: the mean of the patch tokens under a box; which other regions are near, and of which class."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from finevit.evaluation.probes.choice import at_most, hold_out

REGIONS_PROTOCOL = "regions/box-mean-retrieval-v1"
"""Cosine similarity among all regions of the test images but those of the query's own image; R@1 and mAP, of equal scores the wrong
ones first; queries without a truth do not count. And k-NN with the regions of the training images (``knn/cosine-t0.07-v1``)."""
SHOWN = 6


class Regions(NamedTuple):
    """All regions of a set: ``vectors [regions, dim]``, ``labels``, the ``image`` of each, and ``boxes``, xyxy in [0, 1]."""

    vectors: Tensor
    labels: Tensor
    image: Tensor
    boxes: Tensor


class Retrieval(NamedTuple):
    """``metrics``; and of each query: ``rank`` of the first truth (0: it has none), ``nearest`` regions and their ``scores``."""

    metrics: dict[str, float]
    rank: Int[Tensor, " regions"]
    nearest: Int[Tensor, "regions shown"]
    scores: Float[Tensor, "regions shown"]


def box_weights(boxes: Float[Tensor, "boxes 4"], shape: tuple[int, int]) -> Float[Tensor, "boxes patches"]:
    """How much of a box each patch covers, as shares of the box that add up to 1: RoIAlign of one cell, in the limit of samples."""
    rows, columns = (
        (torch.minimum(high[:, None], edge + 1) - torch.maximum(low[:, None], edge)).clamp(min=0)
        for low, high, edge in (
            (boxes[:, 1] * shape[0], boxes[:, 3] * shape[0], torch.arange(shape[0])),
            (boxes[:, 0] * shape[1], boxes[:, 2] * shape[1], torch.arange(shape[1])),
        )
    )
    covered = (rows[:, :, None] * columns[:, None, :]).flatten(1)
    return covered / covered.sum(1, keepdim=True)


def pool_boxes(
    tokens: Float[Tensor, "patches dim"], shape: tuple[int, int], boxes: Float[Tensor, "boxes 4"]
) -> Float[Tensor, "boxes dim"]:
    """The mean token under each box, xyxy in [0, 1], by what patches cover of it."""
    return box_weights(boxes.float(), shape) @ tokens.float()


def average_precision(
    scores: Float[Tensor, "queries gallery"], true: Bool[Tensor, "queries gallery"]
) -> tuple[Float[Tensor, " queries"], Int[Tensor, " queries"]]:
    """Average precision and rank, from 1, of the first truth; nan and 0 where there is none. Entries of ``-inf`` are not searched.

    Of equal scores, and of those that are not numbers, the wrong ones come first.
    """
    scores = scores.nan_to_num(nan=torch.inf, neginf=-torch.inf)
    wrong_first = true.byte().argsort(dim=1, stable=True)
    order = wrong_first.gather(1, scores.gather(1, wrong_first).argsort(dim=1, descending=True, stable=True))
    hits = true.gather(1, order)
    places = torch.arange(1, scores.shape[1] + 1, device=scores.device)
    found = hits.any(1)
    precision = (hits * hits.cumsum(1) / places).sum(1).double() / hits.sum(1)
    return precision, torch.where(found, hits.byte().argmax(1) + 1, 0)


def retrieve(regions: Regions) -> Retrieval:
    """Every region asks for those of its class in other images."""
    unit, labels, image = normalize(regions.vectors, dim=-1), regions.labels, regions.image
    parts = list[tuple[Tensor, ...]]()
    for query in torch.arange(len(unit), device=unit.device).split(at_most(unit)):
        other = image[query, None] != image
        scores = (unit[query] @ unit.T).masked_fill(~other, -torch.inf)
        true = (labels[query, None] == labels) & other
        nearest = scores.topk(min(SHOWN, len(unit)), dim=1)
        parts.append((*average_precision(scores, true), nearest.indices, nearest.values))
    precision, rank, indices, values = (torch.cat(part) for part in zip(*parts, strict=True))
    if not (asked := rank > 0).any():
        raise ValueError(f"none of the {len(rank)} regions has another of its class in another image; test on more images")
    metrics = {"r1": float((rank[asked] == 1).double().mean()), "map": float(precision[asked].mean())}
    return Retrieval({**metrics, "queries": float(asked.sum())}, rank, indices, values)


def hold_out_images(image: Int[Tensor, " regions"], *, seed: int) -> tuple[Int[Tensor, " fit"], Int[Tensor, " held"]]:
    """Regions that fit and that choose, those of an image together."""
    names = image.unique()
    _, held = hold_out(len(names), seed=seed)
    judges = torch.isin(image, names[held.to(names.device)])
    return (~judges).nonzero()[:, 0], judges.nonzero()[:, 0]


def gather(images: Sequence[tuple[Tensor, tuple[int, int], Tensor, Tensor]]) -> Regions:
    """Regions of a set out of each image's tokens, grid, boxes ``[boxes, 4]`` and classes ``[boxes]``."""
    return Regions(
        vectors=torch.cat([pool_boxes(tokens, shape, boxes) for tokens, shape, boxes, _ in images]),
        labels=torch.cat([labels for *_, labels in images]),
        image=torch.cat([torch.full((len(labels),), i) for i, (*_, labels) in enumerate(images)]),
        boxes=torch.cat([boxes for *_, boxes, _ in images]),
    )
