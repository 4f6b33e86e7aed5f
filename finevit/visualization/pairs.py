"""Images and their captions in the shared space, and what each finds first: the pictures of the Stage II page."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from finevit.evaluation.retrieval import ranks
from finevit.ops.patches import unpatchify
from finevit.packing.packs import PackedImages
from finevit.visualization.gallery import jpeg

POOL = 512
"""So many of the unseen images are searched on a page."""
SIDE = 144
"""Longer side of a thumbnail, in pixels."""
LEGIBLE = 2000
"""Characters of a caption that a page shows at most."""


class PairView(NamedTuple):
    """An image and its caption: ``picture`` (a thumbnail's data URI), vectors ``image`` and ``text`` ``[embed]``, ``words`` of the
    caption, ``truncated`` (the encoder did not see its end), ``shape`` (rows, columns) and ``tokens [patches, dim]``, which only
    the first images keep."""

    id: str
    picture: str
    caption: str
    words: int
    truncated: bool
    image: Tensor
    text: Tensor
    shape: tuple[int, int]
    tokens: Tensor | None


class Hit(NamedTuple):
    """What a query found at a place: number of the pair, rank from 1, cosine similarity, and whether it is the truth."""

    pair: int
    rank: int
    score: float
    true: bool


class TextQuery(NamedTuple):
    """A query and what it found: number of its pair, rank of the truth, now and untrained, and the first hits; the last of these
    makes room for a truth that is not among them."""

    pair: int
    rank: int
    untrained: int | None
    hits: list[Hit]


def collect(views: list[PairView], images: PackedImages, predictions: Sequence[dict], count: int) -> None:
    """Adds a loader's batch (pixels still uint8) to the views, until there are ``POOL``; the first ``count`` keep their tokens."""
    patch = round((images.pixels.shape[1] / 3) ** 0.5)
    for pixels, shape, values in zip(images.pixels.split(list(images.seqlens)), images.shapes, predictions, strict=True):
        if len(views) == POOL or len(pixels) != shape[0] * shape[1]:
            continue
        tokens = values["tokens"].half().cpu() if len(views) < count else None
        views.append(_view(jpeg(unpatchify(pixels, shape, patch).permute(1, 2, 0).cpu(), side=SIDE), shape, values, tokens))


def similarity(views: Sequence[PairView]) -> Float[Tensor, "captions images"]:
    """Cosine similarity of every caption with every image; -1 where a training that diverged left none."""
    scores = torch.stack([view.text for view in views]) @ torch.stack([view.image for view in views]).T
    return scores.nan_to_num(-1.0)


def places(views: Sequence[PairView]) -> tuple[Int[Tensor, " captions"], Int[Tensor, " images"]]:
    """At which rank each caption finds its image, and each image its caption, as the metric counts."""
    text, image, order = torch.stack([v.text for v in views]), torch.stack([v.image for v in views]), torch.arange(len(views))
    return ranks(text, image, order, order), ranks(image, text, order, order)


def queries(
    scores: Float[Tensor, "queries gallery"],
    place: Int[Tensor, " queries"],
    untrained: Int[Tensor, " queries"] | None,
    *,
    count: int = 6,
    top: int = 6,
) -> list[TextQuery]:
    """Failures from the worst on, then successes from the narrowest on, each spread evenly; half of each, where there are both."""
    now, then = place.tolist(), [None] * len(place) if untrained is None else untrained.tolist()
    order = torch.argsort(_margins(scores)).tolist()
    failed = sorted((index for index in order if now[index] > 1), key=lambda index: -now[index])
    found = [index for index in order if now[index] == 1]
    wanted = max(min(len(failed), count // 2), count - len(found))
    chosen = [*_spread(failed, wanted), *_spread(found, count - wanted)]
    return [TextQuery(i, now[i], then[i], _hits(scores[i].tolist(), i, now[i], top)) for i in chosen]


def _view(picture: str, shape: tuple[int, int], values: dict, tokens: Tensor | None) -> PairView:
    """Of an image with several captions, the first."""
    captions, cut = values.get("captions_list") or [values.get("caption", "")], values.get("truncated", False)
    return PairView(
        id=str(values.get("id", "")),
        picture=picture,
        caption=captions[0] if len(captions[0]) <= LEGIBLE else captions[0][:LEGIBLE] + " …",
        words=len(captions[0].split()),
        truncated=bool(cut[0] if isinstance(cut, Sequence) else cut),
        image=values["image"].float().cpu(),
        text=values["text"].float().cpu(),
        shape=shape,
        tokens=tokens,
    )


def _margins(scores: Tensor) -> Tensor:
    """By how much the truth leads before everything else."""
    others = scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -torch.inf)
    return scores.diagonal() - others.max(1).values


def _hits(scores: list[float], truth: int, rank: int, top: int) -> list[Hit]:
    """The best scores in order; of equal ones the truth comes last, as in its rank."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index == truth))
    shown = order[:top] if rank <= top else [*order[: top - 1], truth]
    return [Hit(index, order.index(index) + 1, scores[index], index == truth) for index in shown]


def _spread(values: list[int], count: int) -> list[int]:
    """So many of the values, evenly from the first to the last."""
    places = torch.linspace(0, len(values) - 1, min(count, len(values))).round().long().tolist()
    return [values[place] for place in places]
