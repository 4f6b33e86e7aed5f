"""From a plan to pixels, and to what can truly be seen of each object."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from finevit.datasets.scenes.backgrounds import paint_background
from finevit.datasets.scenes.layout import Doodle, Placement, Plan, Plate
from finevit.datasets.scenes.lettering import letter
from finevit.datasets.scenes.parts import SIDE, mip

FEWEST_PIXELS = 16
"""An object of which fewer pixels can be seen is left out of the scene."""


class Cut(NamedTuple):
    """A sprite ready to paste: premultiplied RGBA and its left upper corner, clipped to the frame; ``whole`` counts its opaque pixels
    before clipping."""

    placement: Placement
    pixels: np.ndarray
    opaque: np.ndarray
    x: int
    y: int
    whole: int


class Seen(NamedTuple):
    """An object that is in the picture: ``box`` is the visible extent in pixels (x2, y2 exclusive), ``visible`` the visible fraction."""

    placement: Placement
    box: tuple[int, int, int, int]
    pixels: int
    visible: float


class Painting(NamedTuple):
    """``image uint8 [h, w, 3]``, ``label_map int16 [h, w]``, the objects from back to front, and boxes in pixels of the written lines."""

    image: np.ndarray
    label_map: np.ndarray
    objects: list[Seen]
    lines: list[tuple[Plate, tuple[int, int, int, int]]]


def paint(plan: Plan, atlas: np.ndarray, visible: float) -> Painting:
    """Paint ``plan``; objects of which less than the fraction ``visible`` would be seen are left out."""
    cuts = [cut for placement in plan.placements if (cut := _cut(atlas[placement.thing], placement, plan)) is not None]
    lettered = [(plate, *letter(plate.writing)) for plate in plan.plates]
    spots = [(plate.x, plate.y, *pixels.shape[1::-1]) for plate, pixels, _ in lettered]
    owners, seen = _survey(plan, cuts, spots)
    keep = [one is not None and one.visible >= visible for one in seen]
    if not all(keep):
        cuts = [cut for cut, kept in zip(cuts, keep, strict=True) if kept]
        owners, seen = _survey(plan, cuts, spots)
    image = paint_background(plan.background, plan.height, plan.width)
    for doodle in plan.doodles:
        _scribble(image, doodle)
    for cut in cuts:
        _paste(image, cut)
    lines = []
    for plate, pixels, (x1, y1, x2, y2) in lettered:
        image[plate.y : plate.y + pixels.shape[0], plate.x : plate.x + pixels.shape[1]] = pixels
        lines.append((plate, (plate.x + x1, plate.y + y1, plate.x + x2, plate.y + y2)))
    classes = np.array([cut.placement.thing for cut in cuts] + [-1], np.int16)
    return Painting(_light(image, plan), classes[owners], [one for one in seen if one is not None], lines)


def _cut(sprite: np.ndarray, placement: Placement, plan: Plan) -> Cut | None:
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
    whole = np.count_nonzero(opaque)
    x1, y1, x2, y2 = max(0, -left), max(0, -top), min(side, plan.width - left), min(side, plan.height - top)
    if x1 >= x2 or y1 >= y2 or not whole:
        return None
    matrix = np.eye(4)
    matrix[:3, :3] = placement.colours
    pixels = cv2.transform(pixels[y1:y2, x1:x2], matrix)
    return Cut(placement, pixels, opaque[y1:y2, x1:x2], left + x1, top + y1, whole)


def _survey(
    plan: Plan, cuts: list[Cut], spots: list[tuple[int, int, int, int]]
) -> tuple[np.ndarray, list[Seen | None]]:
    """Which cut owns each pixel (-1 none), and what is seen of each cut: None where that is too little."""
    owners = np.full((plan.height, plan.width), -1, np.int16)
    for number, cut in enumerate(cuts):
        height, width = cut.opaque.shape
        owners[cut.y : cut.y + height, cut.x : cut.x + width][cut.opaque] = number
    for x, y, width, height in spots:
        owners[y : y + height, x : x + width] = -1
    return owners, [_look(owners, number, cut) for number, cut in enumerate(cuts)]


def _look(owners: np.ndarray, number: int, cut: Cut) -> Seen | None:
    height, width = cut.opaque.shape
    mine = (owners[cut.y : cut.y + height, cut.x : cut.x + width] == number).view(np.uint8)
    pixels = cv2.countNonZero(mine)
    if pixels < FEWEST_PIXELS:
        return None
    x, y, wide, high = cv2.boundingRect(mine)
    box = (cut.x + x, cut.y + y, cut.x + x + wide, cut.y + y + high)
    return Seen(cut.placement, box, pixels, pixels / cut.whole)


def _paste(image: np.ndarray, cut: Cut) -> None:
    height, width = cut.opaque.shape
    under = image[cut.y : cut.y + height, cut.x : cut.x + width]
    red, green, blue, alpha = cv2.split(cut.pixels)
    rest = cv2.bitwise_not(alpha)
    under[:] = cv2.add(cv2.multiply(under, cv2.merge((rest, rest, rest)), scale=1 / 255), cv2.merge((red, green, blue)))


def _scribble(image: np.ndarray, doodle: Doodle) -> None:
    centre, colour, reach = np.array([doodle.x, doodle.y]), doodle.colour, doodle.length / 2
    spot, turn = (int(doodle.x), int(doodle.y)), math.degrees(doodle.angle)
    if doodle.kind in ("arc", "blob"):
        thickness, sweep = (-1, 360) if doodle.kind == "blob" else (doodle.thickness, 200)
        axes = (int(reach) + 1, int(reach / 3) + 1)
        cv2.ellipse(image, spot, axes, turn, 0, sweep, colour, thickness, cv2.LINE_AA)
        return
    steps = np.linspace(-reach, reach, 2 if doodle.kind == "line" else 6)
    along, across = (
        np.array([math.cos(doodle.angle), math.sin(doodle.angle)]),
        np.array([-math.sin(doodle.angle), math.cos(doodle.angle)]),
    )
    swing = np.zeros(2) if doodle.kind == "line" else np.resize([1.0, -1.0], 6) * reach / 5
    points = centre + steps[:, None] * along + swing[:, None] * across
    cv2.polylines(image, [np.round(points).astype(np.int32)], False, colour, doodle.thickness, cv2.LINE_AA)


def _light(image: np.ndarray, plan: Plan) -> np.ndarray:
    """Light that changes smoothly from corner to corner."""
    corners = np.round(np.float32(plan.lights).reshape(2, 2) * 200).astype(np.uint8)
    gain = cv2.resize(corners, (plan.width, plan.height), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, cv2.merge((gain, gain, gain)), scale=1 / 200)
