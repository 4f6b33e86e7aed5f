"""What a scene will hold and where, before a pixel is painted."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from finevit.scenes.backgrounds import COLOURS, Background, draw_background, shade
from finevit.scenes.levels import Level
from finevit.scenes.rng import Dice
from finevit.scenes.text_rendering import SCRIPTS, Writing, draw_writing, measure
from finevit.scenes.vocabulary import Thing

LONGEST = 3.0
"""Largest ratio of a scene's sides; ratios are log-uniform between 1 : 3 and 3 : 1."""
_TRIES = 12
DOODLES = ("line", "arc", "zigzag")
Box = tuple[float, float, float, float]
Colours = tuple[tuple[float, float, float], ...]


class Placement(NamedTuple):
    """One object: class id, centre and longer side in pixels, clockwise ``turn`` in radians, the name of its tint
    (shapes only), and the matrix that changes its colours."""

    thing: int
    x: float
    y: float
    size: float
    turn: float
    mirrored: bool
    tint: str
    colours: Colours


class Plate(NamedTuple):
    """A line of text and the left upper corner of its plate."""

    writing: Writing
    x: int
    y: int


class Doodle(NamedTuple):
    """A stroke or blob that belongs to no class: ``kind`` in ``DOODLES``, centre, length and thickness in pixels,
    angle in radians."""

    kind: str
    x: float
    y: float
    length: float
    angle: float
    colour: tuple[float, float, float]
    thickness: int


class SceneLayout(NamedTuple):
    """A scene on paper. ``lights`` are the gains of the four corners; ``doodles`` are background strokes without a
    class."""

    height: int
    width: int
    background: Background
    placements: tuple[Placement, ...]
    plates: tuple[Plate, ...]
    doodles: tuple[Doodle, ...]
    lights: tuple[float, float, float, float]


class Planner:
    """Draws plans of one level. ``extents [things, 2]`` are widths and heights of sprites relative to their longer
    side."""

    def __init__(self, *, level: Level, things: Sequence[Thing], extents: np.ndarray, max_side: int | None) -> None:
        self._level, self._things, self._max_side = level, things, max_side
        self._extents = [(float(width), float(height)) for width, height in extents]

    def __call__(self, dice: Dice) -> SceneLayout:
        """A plan; at least one object always finds a place."""
        height, width = self.canvas(dice)
        background = draw_background(dice, math.sqrt(height * width), photos=self._level.photos)
        boxes: list[Box] = []
        plates = tuple(self._plates(dice, height, width, boxes))
        placements = tuple(self._placements(dice, height, width, background, boxes))
        doodles = tuple(self._doodle(dice, height, width) for _ in range(dice.integer(*self._level.distractors)))
        weakest = 1 - 0.35 * self._level.shift
        lights = (
            dice.between(weakest, 1.1),
            dice.between(weakest, 1.1),
            dice.between(weakest, 1.1),
            dice.between(weakest, 1.1),
        )
        return SceneLayout(height, width, background, placements, plates, doodles, lights)

    def canvas(self, dice: Dice) -> tuple[int, int]:
        """Height and width of the scene, which are drawn first."""
        side, half = dice.between(*self._level.side), math.log(LONGEST) / 2
        stretch = math.exp(dice.between(-half, half))
        if self._max_side is not None:
            side = min(side, self._max_side / max(stretch, 1 / stretch))
        return round(side / stretch), round(side * stretch)

    def _plates(self, dice: Dice, height: int, width: int, boxes: list[Box]) -> list[Plate]:
        plates, script = [], SCRIPTS[self._level.script]
        for _ in range(dice.integer(*self._level.words)):
            size = math.sqrt(height * width) * dice.between(*self._level.letters)
            writing = draw_writing(dice, size, dice.integer(*self._level.line), script)
            wide, high = measure(writing)
            if wide < width and high < height:
                plates.append((writing, wide, high))
        placed = []
        for writing, wide, high in plates:
            for _ in range(_TRIES):
                x, y = dice.integer(0, width - wide), dice.integer(0, height - high)
                if _free((x, y, x + wide, y + high), boxes, 0.0):
                    boxes.append((x, y, x + wide, y + high))
                    placed.append(Plate(writing, x, y))
                    break
        return placed

    def _placements(self, dice: Dice, height: int, width: int, background: Background, boxes: list[Box]) -> list[Placement]:
        placements: list[Placement] = []
        for _ in range(dice.integer(*self._level.objects)):
            for attempt in range(_TRIES):
                placement, box = self._propose(dice, height, width, background)
                if _free(box, boxes, self._level.overlap) or (not placements and attempt == _TRIES - 1):
                    boxes.append(box)
                    placements.append(placement)
                    break
        return placements

    def _propose(self, dice: Dice, height: int, width: int, background: Background) -> tuple[Placement, Box]:
        level, thing = self._level, dice.integer(0, len(self._things) - 1)
        turn = math.radians(dice.between(-level.turn, level.turn))
        wide, high = _turned(*self._extents[thing], turn)
        size = math.sqrt(height * width) * math.exp(dice.between(math.log(level.size[0]), math.log(level.size[1])))
        size = min(size, 0.94 * width / wide, 0.94 * height / high)
        across, down = wide * size / 2, high * size / 2
        inside = 1 - 2 * level.outside
        x = dice.between(across * inside, width - across * inside)
        y = dice.between(down * inside, height - down * inside)
        free = [name for name in COLOURS if name not in (background.first, background.second)]
        tint = dice.pick(free) if self._things[thing].is_shape else ""
        colours = _tinting(shade(dice, tint)) if tint else _shifting(dice, level.shift)
        mirrored = self._things[thing].mirrors and dice.chance(0.5)
        return Placement(thing, x, y, size, turn, mirrored, tint, colours), (x - across, y - down, x + across, y + down)

    @staticmethod
    def _doodle(dice: Dice, height: int, width: int) -> Doodle:
        side = math.sqrt(height * width)
        length = side * dice.between(0.02, 0.3)
        colour = shade(dice, dice.pick(tuple(COLOURS)))
        place = dice.between(0, width), dice.between(0, height)
        return Doodle(dice.pick(DOODLES), *place, length, dice.between(0, math.pi), colour, max(1, round(side * 0.006)))


def _turned(width: float, height: float, turn: float) -> tuple[float, float]:
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    return width * cos + height * sin, width * sin + height * cos


def _free(box: Box, others: list[Box], overlap: float) -> bool:
    """Whether no other box shares more than ``overlap`` of the smaller one's area."""
    x1, y1, x2, y2 = box
    area = (x2 - x1) * (y2 - y1)
    for left, top, right, bottom in others:
        wide, high = min(x2, right) - max(x1, left), min(y2, bottom) - max(y1, top)
        if wide > 0 and high > 0 and wide * high > overlap * min(area, (right - left) * (bottom - top)):
            return False
    return True


def _tinting(colour: tuple[float, float, float]) -> Colours:
    red, green, blue = (value / 255 for value in colour)
    return (red, 0.0, 0.0), (0.0, green, 0.0), (0.0, 0.0, blue)


def _shifting(dice: Dice, strength: float) -> Colours:
    """A rotation of hue about the grey axis, too small to make a colour's name wrong, and a gain."""
    hue, gain = math.radians(dice.between(-11, 11)), 1 - dice.between(0, 0.3) * strength
    cos, third, edge = math.cos(hue), (1 - math.cos(hue)) / 3, math.sin(hue) / math.sqrt(3)
    same, after, before = gain * (cos + third), gain * (third - edge), gain * (third + edge)
    return (same, after, before), (before, same, after), (after, before, same)
