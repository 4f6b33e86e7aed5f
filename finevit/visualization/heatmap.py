"""Similarities as a picture: one pixel a pair, with a colour scale from the lowest of them to the highest."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from finevit.visualization.gallery import png

COLOURS = "viridis"
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

    return torch.from_numpy(colormaps[COLOURS](values.clamp(0, 1).numpy()))[..., :3]
