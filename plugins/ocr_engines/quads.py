"""Lines of text as the contract wants them: corners clockwise from the top left of the text, in [0, 1] of the picture."""

from typing import Any

import numpy as np

_TALL = 1.5
"""PaddleOCR and RapidOCR turn a line that is so many times higher than wide by a quarter before they read it."""


def line(text: str, score: float, quad: np.ndarray, width: int, height: int) -> dict[str, Any]:
    """A line whose corners ``[4, 2]`` are in pixels of an image of this size."""
    inside = np.clip(np.asarray(quad, dtype=np.float64) / (width, height), 0, 1)
    return {"text": text, "score": round(float(score), 6), "quad": [round(float(each), 6) for each in inside.ravel()]}


def tightened(quad: np.ndarray, share: float) -> np.ndarray:
    """The quad ``[4, 2]`` with each side moved inwards by a share of its shorter side."""
    along, across = quad[1] - quad[0], quad[3] - quad[0]
    long, high = float(np.linalg.norm(along)), float(np.linalg.norm(across))
    step = share * min(long, high)
    along, across = along * (step / max(long, 1e-9)), across * (step / max(high, 1e-9))
    return quad + np.stack([along + across, across - along, -along - across, along - across])


def from_the_text(quad: np.ndarray, *, on_its_side: bool, upside_down: bool) -> np.ndarray:
    """Corners clockwise from the top left of the image, as corners from the top left of a text that was turned before it was read:
    a quarter turn anticlockwise, then, where ``upside_down``, half a turn."""
    return np.roll(quad, -(on_its_side + 2 * upside_down), axis=0)


def on_its_side(box: np.ndarray) -> bool:
    """Whether a line was turned: by whole pixels of its longer sides, as it was read."""
    edges = [int(np.linalg.norm(box[one] - box[other])) for one, other in ((0, 1), (2, 3), (0, 3), (1, 2))]
    return max(edges[2:]) >= _TALL * max(edges[:2])
