"""Procedural shapes: light grey sprites with a dark outline, to be tinted when they are pasted."""

import cv2
import numpy as np

_SCALE = 8
"""Points are given to 1/256 of a pixel, so outlines are smooth."""


def _regular(sides: int, turn: float = -90.0) -> np.ndarray:
    angles = np.radians(turn + 360.0 / sides * np.arange(sides))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star() -> np.ndarray:
    points = _regular(10)
    points[1::2] *= 0.45
    return points


def _arc(centre: float, radius: float, first: float, last: float) -> np.ndarray:
    angles = np.radians(np.linspace(first, last, 40))
    return np.stack([centre + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _crescent() -> np.ndarray:
    """A disc of radius 1 less another that meets its edge at 50 degrees above and below."""
    centre, height = 0.75, np.sin(np.radians(50))
    across = np.cos(np.radians(50)) - centre
    edge = np.degrees(np.arctan2(height, across))
    return np.concatenate([_arc(0, 1, 50, 310), _arc(centre, np.hypot(across, height), 360 - edge, edge)])


_CROSS = np.array([(-1, 3), (1, 3), (1, 1), (3, 1), (3, -1), (1, -1), (1, -3), (-1, -3), (-1, -1), (-3, -1), (-3, 1), (-1, 1)])

OUTLINES: dict[str, np.ndarray] = {
    "circle": _regular(64),
    "square": _regular(4, 45),
    "triangle": _regular(3),
    "star": _star(),
    "pentagon": _regular(5),
    "hexagon": _regular(6),
    "octagon": _regular(8, 22.5),
    "diamond": _regular(4) * (0.6, 1.0),
    "cross": _CROSS / 3.0,
    "ring": _regular(64),
    "oval": _regular(64) * (1.0, 0.6),
    "semicircle": _arc(0, 1, 180, 360),
    "rectangle": np.array([(-1, -0.5), (1, -0.5), (1, 0.5), (-1, 0.5)]),
    "trapezoid": np.array([(-0.5, -0.5), (0.5, -0.5), (1, 0.5), (-1, 0.5)]),
    "parallelogram": np.array([(-0.5, -0.5), (1, -0.5), (0.5, 0.5), (-1, 0.5)]),
    "crescent": _crescent(),
}
"""Corners of every shape, x and y about the origin."""


def draw_shape(name: str, side: int) -> np.ndarray:
    """The shape as RGBA ``uint8 [side, side, 4]``, shaded from its upper left to its lower right."""
    outline = np.round((OUTLINES[name] * (side / 2 - 8) + side / 2) * 2**_SCALE).astype(np.int32)
    ramp = np.add.outer(np.arange(side), np.arange(side)) / (2.0 * side)
    image = np.repeat((255 - 60 * ramp).astype(np.uint8)[..., None], 4, axis=2)
    alpha = np.zeros((side, side), np.uint8)
    cv2.fillPoly(alpha, [outline], 255, cv2.LINE_AA, _SCALE)
    ink = np.zeros((side, side), np.uint8)
    cv2.polylines(ink, [outline], True, 255, 5, cv2.LINE_AA, _SCALE)
    if name == "ring":
        cv2.circle(alpha, (side // 2, side // 2), side // 4, 0, -1, cv2.LINE_AA)
        cv2.circle(ink, (side // 2, side // 2), side // 4, 255, 5, cv2.LINE_AA)
    image[..., :3] = (image[..., :3] * (1 - 0.8 * ink[..., None] / 255.0)).astype(np.uint8)
    image[..., 3] = np.maximum(alpha, ink)
    return image
