"""The pictures of the Stage II page: what captions and images find, how similar they are, and what the patches look like."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from finevit.visualization import gallery
from finevit.visualization.gallery import Column, png
from finevit.visualization.pairs import PairView, places, queries, similarity
from finevit.visualization.report import Section, fragment

COLORMAP = "viridis"
"""A map of matplotlib whose lightness grows with the value, so that it reads in grey and with any colour vision."""


class Scale(NamedTuple):
    """The values at both ends, and the colours between as a CSS gradient."""

    low: float
    high: float
    gradient: str

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends, for people: with as many digits as tell them apart."""
        digits = 2 if self.high - self.low >= 0.05 else 4
        low, high = (f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−") for value in (self.low, self.high))
        return low, high


class Heatmap(NamedTuple):
    """A picture (data URI) of a matrix of similarities, their means on the diagonal and off it, and the colours' scale."""

    name: str
    picture: str
    pairs: float
    others: float
    scale: Scale

    @classmethod
    def of(cls, name: str, scores: Float[Tensor, "captions images"], scale: Scale) -> "Heatmap":
        """Draws ``scores`` in the colours of ``scale``."""
        diagonal = torch.eye(len(scores), dtype=torch.bool)
        picture = png(_colours((scores - scale.low) / max(scale.high - scale.low, 1e-12)))
        return cls(name, picture, float(scores[diagonal].mean()), float(scores[~diagonal].mean()), scale)


def scale_of(matrices: Sequence[Tensor]) -> Scale:
    """The scale on which all of these matrices fit."""
    values = torch.cat([matrix.flatten() for matrix in matrices])
    stops = ", ".join(f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in (_colours(torch.linspace(0, 1, 9)) * 255).tolist())
    return Scale(float(values.min()), float(values.max()), f"linear-gradient(to right, {stops})")


def _colours(values: Tensor) -> Tensor:
    from matplotlib import colormaps

    return torch.from_numpy(colormaps[COLORMAP](values.clamp(0, 1).numpy()))[..., :3]


COLOURS = "Unseen images and their patch tokens: the three directions in which these vary most are red, green and blue."
MATRIX = 64
"""The similarity matrix shows so many pairs at most."""


def sections(before: Sequence[PairView], after: Sequence[PairView]) -> list[Section]:
    """What is found, how similar pairs are, and what the patches look like."""
    if len(after) < 2:
        return []
    mapped = _columns([view for view in after if view.tokens is not None], before)
    return [
        *searches(before, after),
        matrices(before, after),
        *gallery.sections("What it sees", mapped, template="strips.html", note=COLOURS),
    ]


def searches(before: Sequence[PairView], after: Sequence[PairView]) -> list[Section]:
    """Queries of both ways: failures first."""
    scores, then = similarity(after), places(before) if before else (None, None)
    texts, images = (queries(*way) for way in zip((scores, scores.T), places(after), then, strict=True))
    among = f"among {len(after):,} unseen images"
    return [
        Section(
            "What a caption finds",
            fragment("found_images.html", views=after, queries=texts),
            f"Text → image, {among}: failures first, from the worst on, then successes, from the narrowest on. "
            "The figures are cosine similarities, ✓ marks the truth; click a caption to read all of it.",
        ),
        Section(
            "What an image finds",
            fragment("found_texts.html", views=after, queries=images),
            f"Image → text, {among} and their captions, in the same order.",
        ),
    ]


def matrices(before: Sequence[PairView], after: Sequence[PairView]) -> Section:
    """Similarities of the first pairs as pictures, each on its own scale: an untrained model's lie in a corner of any other."""
    shown = {"untrained": before[:MATRIX], "trained": after[:MATRIX]}
    corners = {name: similarity(views) for name, views in shown.items() if views}
    html = fragment("heatmaps.html", maps=[Heatmap.of(name, scores, scale_of([scores])) for name, scores in corners.items()])
    return Section(
        "How similar they are",
        html,
        f"The first {len(shown['trained'])} pairs: a row is a caption, a column an image; true pairs are on the diagonal. "
        "Each picture has colours of its own.",
    )


def _columns(after: Sequence[PairView], before: Sequence[PairView]) -> list[Column]:
    if not after:
        return []
    images = Column("image", "never seen in training", [view.picture for view in after], pixelated=False)
    moments = {"untrained": before[: len(after)], "trained": after}
    return [images, *(_tokens(name, views) for name, views in moments.items() if views)]


def _tokens(name: str, views: Sequence[PairView]) -> Column:
    features = [view.tokens.float() for view in views if view.tokens is not None]
    pictures = gallery.coloured(features, [view.shape for view in views])
    return Column(name, "patch tokens in colours", pictures)
