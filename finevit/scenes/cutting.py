"""Sprites turned, scaled and tinted for one scene, and what can truly be seen of each once all of them lie in place."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from finevit.scenes.layout import Placement, Plan
from finevit.scenes.sprites import SIDE, mip

FEWEST_PIXELS = 16
"""An object of which fewer pixels can be seen is left out of the scene."""


class Cut(NamedTuple):
    """A sprite ready to paste: premultiplied RGBA and its left upper corner, clipped to the frame; ``opaque`` is its
    mask, ``whole`` counts its opaque pixels before clipping."""

    placement: Placement
    pixels: np.ndarray
    opaque: np.ndarray
    x: int
    y: int
    whole: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Where it lies in the scene."""
        height, width = self.opaque.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


class Seen(NamedTuple):
    """An object that is in the picture: ``box`` is the visible extent in pixels (x2, y2 exclusive), ``pixels`` how many
    are visible, ``framed`` the fraction of the object within the frame, ``visible`` the fraction that can be seen."""

    placement: Placement
    box: tuple[int, int, int, int]
    pixels: int
    framed: float
    visible: float


class Survey(NamedTuple):
    """``owners int16 [h, w]``: the number of the cut that is seen at each pixel, -1 none. ``seen``: what is seen of
    each cut, None for too little. ``covers``: pairs (upper, lower) of cuts that lie on one another."""

    owners: np.ndarray
    seen: list[Seen | None]
    covers: list[tuple[int, int]]


def cut_sprite(sprite: np.ndarray, placement: Placement, plan: Plan) -> Cut | None:
    """Turn, mirror, scale and tint a sprite, then clip it to the frame; None when nothing is left."""
    source = mip(sprite, placement.size)
    half = placement.size * (abs(math.cos(placement.turn)) + abs(math.sin(placement.turn))) / 2 + 1
    left, top = math.floor(placement.x - half), math.floor(placement.y - half)
    side = math.ceil(2 * half) + 1
    scale = placement.size / (source.shape[0] * (SIDE - 4) / SIDE)
    cos, sin = scale * math.cos(placement.turn), scale * math.sin(placement.turn)
    flip, centre = -1 if placement.mirrored else 1, (source.shape[0] - 1) / 2
    turn = np.array([[cos * flip, -sin, 0], [sin * flip, cos, 0]])
    turn[:, 2] = (placement.x - left - 0.5, placement.y - top - 0.5) - turn[:, :2] @ (centre, centre)
    pixels = cv2.warpAffine(source, turn, (side, side), flags=cv2.INTER_LINEAR)
    opaque = pixels[..., 3] >= 128
    whole = int(np.count_nonzero(opaque))
    x1, y1, x2, y2 = max(0, -left), max(0, -top), min(side, plan.width - left), min(side, plan.height - top)
    if x1 >= x2 or y1 >= y2 or not whole:
        return None
    matrix = np.eye(4)
    matrix[:3, :3] = placement.colours
    pixels = cv2.transform(pixels[y1:y2, x1:x2], matrix)
    return Cut(placement, pixels, opaque[y1:y2, x1:x2], left + x1, top + y1, whole)


def survey(plan: Plan, cuts: list[Cut], plates: list[tuple[slice, slice]]) -> Survey:
    """Lay the cuts down from back to front, then the ``plates`` of the written lines, and look."""
    owners = np.full((plan.height, plan.width), -1, np.int16)
    covers = []
    for number, cut in enumerate(cuts):
        under = owners[cut.window]
        hidden = np.bincount(under[cut.opaque] + 1, minlength=number + 1)[1:]
        covers += [(number, int(lower)) for lower in np.flatnonzero(hidden >= FEWEST_PIXELS)]
        under[cut.opaque] = number
    for plate in plates:
        owners[plate] = -1
    return Survey(owners, [_look(owners, number, cut) for number, cut in enumerate(cuts)], covers)


def _look(owners: np.ndarray, number: int, cut: Cut) -> Seen | None:
    mine = (owners[cut.window] == number).view(np.uint8)
    pixels = cv2.countNonZero(mine)
    if pixels < FEWEST_PIXELS:
        return None
    x, y, wide, high = cv2.boundingRect(mine)
    box = (cut.x + x, cut.y + y, cut.x + x + wide, cut.y + y + high)
    return Seen(cut.placement, box, pixels, int(np.count_nonzero(cut.opaque)) / cut.whole, pixels / cut.whole)
