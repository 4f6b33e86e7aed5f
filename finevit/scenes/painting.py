"""From a plan to pixels, and to what can truly be seen of each object."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from finevit.scenes.backgrounds import paint_background
from finevit.scenes.layout import Doodle, Plate, SceneLayout
from finevit.scenes.sprites import Cut, Seen, cut_sprite, survey
from finevit.scenes.text_rendering import letter


class Painting(NamedTuple):
    """``image uint8 [h, w, 3]``, ``label_map`` and ``instance_map int16 [h, w]``, the objects from back to front, pairs (upper,
    lower) of objects that lie on one another, and the written lines with the boxes of their ink in pixels."""

    image: np.ndarray
    label_map: np.ndarray
    instance_map: np.ndarray
    objects: list[Seen]
    covers: list[tuple[int, int]]
    lines: list[tuple[Plate, tuple[int, int, int, int]]]


def paint(plan: SceneLayout, atlas: np.ndarray, visible: float) -> Painting:
    """Paint ``plan``; objects of which less than the fraction ``visible`` would be seen are left out."""
    cuts = [cut for spot in plan.placements if (cut := cut_sprite(atlas[spot.thing], spot, plan)) is not None]
    lettered = [letter(plate.writing) for plate in plan.plates]
    windows = [_window(plate, pixels) for plate, (pixels, _) in zip(plan.plates, lettered, strict=True)]
    found = survey(plan, cuts, windows)
    keep = [one is not None and one.visible >= visible for one in found.seen]
    if not all(keep):
        cuts = [cut for cut, kept in zip(cuts, keep, strict=True) if kept]
        found = survey(plan, cuts, windows)
    image = paint_background(plan.background, plan.height, plan.width)
    for doodle in plan.doodles:
        _scribble(image, doodle)
    for cut in cuts:
        _paste(image, cut)
    for window, (pixels, _) in zip(windows, lettered, strict=True):
        image[window] = pixels
    classes = np.array([cut.placement.thing for cut in cuts] + [-1], np.int16)
    seen = [one for one in found.seen if one is not None]
    lines = [(plate, _moved(ink, plate)) for plate, (_, ink) in zip(plan.plates, lettered, strict=True)]
    return Painting(_light(image, plan), classes[found.owners], found.owners, seen, found.covers, lines)


def _window(plate: Plate, pixels: np.ndarray) -> tuple[slice, slice]:
    return slice(plate.y, plate.y + pixels.shape[0]), slice(plate.x, plate.x + pixels.shape[1])


def _moved(box: tuple[int, int, int, int], plate: Plate) -> tuple[int, int, int, int]:
    return box[0] + plate.x, box[1] + plate.y, box[2] + plate.x, box[3] + plate.y


def _paste(image: np.ndarray, cut: Cut) -> None:
    under = image[cut.window]
    red, green, blue, alpha = cv2.split(cut.pixels)
    rest = cv2.bitwise_not(alpha)
    under[:] = cv2.add(cv2.multiply(under, cv2.merge((rest, rest, rest)), scale=1 / 255), cv2.merge((red, green, blue)))


def _scribble(image: np.ndarray, doodle: Doodle) -> None:
    centre, reach = (int(doodle.x), int(doodle.y)), doodle.length / 2
    if doodle.kind == "arc":
        axes, turn = (int(reach) + 1, int(reach / 3) + 1), math.degrees(doodle.angle)
        cv2.ellipse(image, centre, axes, turn, 0, 200, doodle.colour, doodle.thickness, cv2.LINE_AA)
        return
    cos, sin = math.cos(doodle.angle), math.sin(doodle.angle)
    along = np.linspace(-reach, reach, 6)
    across = np.resize([1.0, -1.0], 6) * (reach / 5 if doodle.kind == "zigzag" else 0.0)
    points = np.stack([doodle.x + along * cos - across * sin, doodle.y + along * sin + across * cos], axis=1)
    cv2.polylines(image, [np.round(points).astype(np.int32)], False, doodle.colour, doodle.thickness, cv2.LINE_AA)


def _light(image: np.ndarray, plan: SceneLayout) -> np.ndarray:
    """Light that changes smoothly from corner to corner."""
    corners = np.round(np.array(plan.lights, np.float32).reshape(2, 2) * 200).astype(np.uint8)
    gain = cv2.resize(corners, (plan.width, plan.height), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, cv2.merge((gain, gain, gain)), scale=1 / 200)
