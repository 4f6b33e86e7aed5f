"""Backgrounds: a field of grey values per texture, coloured by a ramp between two named colours."""

import logging
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from finevit.scenes.rng import Dice


class Photograph(NamedTuple):
    """``subject`` is what it shows, said so that it holds for every part of it."""

    subject: str
    path: str


_log = logging.getLogger("finevit")
_CANDIDATES = (
    ("sklearn", "datasets/images/china.jpg", "a Chinese temple building"),
    ("sklearn", "datasets/images/flower.jpg", "a dahlia in bloom"),
    ("skimage", "data/astronaut.png", "an astronaut in an orange suit"),
    ("skimage", "data/brick.png", "a brick wall"),
    ("skimage", "data/chelsea.png", "a tabby cat"),
    ("skimage", "data/coffee.png", "a cup of coffee on a table"),
    ("skimage", "data/grass.png", "short grass"),
    ("skimage", "data/gravel.png", "gravel"),
    ("skimage", "data/hubble_deep_field.jpg", "far galaxies"),
    ("skimage", "data/rocket.jpg", "a rocket on its launch pad"),
)


@cache
def photographs() -> tuple[Photograph, ...]:
    """Those that are installed; says once which are missing."""
    found, missing = [], []
    for package, path, subject in _CANDIDATES:
        spec = find_spec(package)
        if spec is not None and spec.origin and (file := Path(spec.origin).parent / path).exists():
            found.append(Photograph(subject, str(file)))
        else:
            missing.append(subject)
    if missing:
        told = "Scenes have no backgrounds of %s: `pip install scikit-learn scikit-image` adds these photographs."
        _log.warning(told, ", ".join(missing))
    return tuple(found)


def listed() -> str:
    """How many of them there are, for people."""
    return f"{len(photographs())} of {len(_CANDIDATES)} photographs as backgrounds"


def cut_out(photograph: Photograph, height: int, width: int, offset: float) -> np.ndarray:
    """A part of the photograph in the proportions asked for, at that size: RGB ``uint8 [height, width, 3]``."""
    pixels = _read(photograph.path)
    scale = min(pixels.shape[0] / height, pixels.shape[1] / width) * (0.6 + 0.4 * (offset % 1))
    high, wide = int(height * scale), int(width * scale)
    top, left = int(offset * 13) % (pixels.shape[0] - high + 1), int(offset * 29) % (pixels.shape[1] - wide + 1)
    return cv2.resize(pixels[top : top + high, left : left + wide], (width, height), interpolation=cv2.INTER_LINEAR)


@lru_cache(16)
def _read(path: str) -> np.ndarray:
    pixels = cv2.imread(path, cv2.IMREAD_COLOR)
    assert pixels is not None, path
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 44),
    "orange": (242, 140, 36),
    "yellow": (246, 220, 62),
    "green": (62, 158, 66),
    "teal": (26, 140, 140),
    "blue": (48, 98, 208),
    "purple": (132, 68, 178),
    "pink": (244, 150, 186),
    "brown": (124, 80, 46),
    "white": (244, 244, 240),
    "grey": (140, 142, 146),
    "black": (36, 36, 40),
}
"""Colour names that captions may use, and their RGB centres."""


class Background(NamedTuple):
    """``texture`` is a key of ``TEXTURES``; ``first`` and ``second`` are colour names and ``ramp`` their shades;
    ``period`` in pixels, ``angle`` in radians. A ``photograph`` stands in place of the texture."""

    texture: str
    first: str
    second: str
    ramp: tuple[tuple[float, float, float], tuple[float, float, float]]
    period: float
    angle: float
    offset: float
    grain: float
    photograph: Photograph | None = None


def _along(height: int, width: int, angle: float) -> np.ndarray:
    """Distance of every pixel along a direction: float32 ``[height, width]``."""
    ys, xs = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    return (np.sin(angle, dtype=np.float32) * ys)[:, None] + (np.cos(angle, dtype=np.float32) * xs)[None]


def _flat(shape: tuple[int, int], spec: Background) -> np.ndarray:
    return np.zeros(shape, np.uint8)


def _gradient(shape: tuple[int, int], spec: Background) -> np.ndarray:
    field = _along(*shape, spec.angle)
    low, high = float(field.min()), float(field.max())
    return cv2.convertScaleAbs(field - low, alpha=255 / max(high - low, 1.0))


def _checker(shape: tuple[int, int], spec: Background) -> np.ndarray:
    ys, xs = (((np.arange(length) + spec.offset) // spec.period).astype(np.uint8) & 1 for length in shape)
    return np.bitwise_xor.outer(ys, xs) * np.uint8(255)


def _stripes(shape: tuple[int, int], spec: Background) -> np.ndarray:
    field = (_along(*shape, spec.angle) + 4096) * np.float32(2 / spec.period)
    return (field.astype(np.uint16) & 1).astype(np.uint8) * np.uint8(255)


def _dots(shape: tuple[int, int], spec: Background) -> np.ndarray:
    ys, xs = (((np.arange(length, dtype=np.float32) + spec.offset) % spec.period / spec.period - 0.5) ** 2 for length in shape)
    return (np.add.outer(ys, xs) < 0.08).astype(np.uint8) * np.uint8(255)


def _waves(shape: tuple[int, int], spec: Background) -> np.ndarray:
    height, width = shape
    ys = np.arange(height, dtype=np.float32) * np.float32(6.2832 / spec.period)
    bend = np.float32(1.5) * np.sin(np.arange(width, dtype=np.float32) * np.float32(2.0 / spec.period) + np.float32(spec.offset))
    phase = (ys[:, None] + bend[None]) * np.float32(40.743) + 4096
    return _SINE[phase.astype(np.uint16) & 255]


def _wood(shape: tuple[int, int], spec: Background) -> np.ndarray:
    height, width = shape
    knots = _tile(int(spec.offset), 5, 12)
    bend = cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC)
    rings = np.arange(height, dtype=np.float32) * np.float32(256 / spec.period)
    return _SINE[(rings[:, None] + bend * np.float32(2.0) + 4096).astype(np.uint16) & 255]


def _clouds(shape: tuple[int, int], spec: Background) -> np.ndarray:
    height, width = shape
    coarse = _tile(int(spec.offset), max(3, round(height / spec.period)), max(3, round(width / spec.period)))
    return cv2.convertScaleAbs(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def _speckles(shape: tuple[int, int], spec: Background) -> np.ndarray:
    height, width = shape
    noise = _tile(int(spec.offset), max(4, height // 3), max(4, width // 3))
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


TEXTURES = {
    "flat": _flat,
    "gradient": _gradient,
    "checker": _checker,
    "stripes": _stripes,
    "dots": _dots,
    "waves": _waves,
    "wood": _wood,
    "clouds": _clouds,
    "speckles": _speckles,
}
"""Textures by name: ``(height, width), Background -> uint8 [height, width]``, 0 for the first colour and 255 for the
second."""

_NOISE = 2048
_SINE = np.round(127.5 + 127.5 * np.sin(np.arange(256) * (2 * np.pi / 256))).astype(np.uint8)


@cache
def _noise() -> np.ndarray:
    return np.random.Generator(np.random.PCG64(7)).integers(0, 256, (_NOISE, _NOISE), np.uint8)


def _tile(offset: int, height: int, width: int) -> np.ndarray:
    """A window of fixed white noise, 0 to 255: float32 ``[height, width]``."""
    top, left = offset * 7919 % (_NOISE - height), offset * 104729 % (_NOISE - width)
    return _noise()[top : top + height, left : left + width].astype(np.float32)


def draw_background(dice: Dice, side: float, *, photos: bool) -> Background:
    """A random texture in two different colours, periods growing with the scene's ``side``, or a photograph where
    ``photos`` allow it."""
    texture = dice.pick(tuple(TEXTURES))
    first, second = dice.shuffled(tuple(COLOURS))[:2]
    if texture == "wood":
        first, second = "brown", dice.pick(("orange", "yellow"))
    ramp = (shade(dice, first), shade(dice, second))
    period, angle = side * dice.between(0.06, 0.22), dice.pick((0.0, 0.7854, 1.5708, 2.3562))
    spec = Background(texture, first, second, ramp, period, angle, dice.between(0, 1000), dice.between(0, 0.15))
    if photos and photographs() and dice.chance(0.3):
        return spec._replace(photograph=dice.pick(photographs()))
    return spec


def shade(dice: Dice, name: str) -> tuple[float, float, float]:
    """A shade that still deserves the colour's name: RGB, 0 to 255."""
    red, green, blue = (min(255.0, max(0.0, value + dice.between(-14, 14))) for value in COLOURS[name])
    return red, green, blue


def paint_background(spec: Background, height: int, width: int) -> np.ndarray:
    """The background as ``uint8 [height, width, 3]``."""
    if spec.photograph is not None:
        return cut_out(spec.photograph, height, width, spec.offset)
    field = TEXTURES[spec.texture]((height, width), spec)
    steps = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    first, second = np.array(spec.ramp, np.float32)
    ramp = first * (1 - steps) + second * steps
    image = cv2.LUT(cv2.merge((field, field, field)), np.round(ramp).astype(np.uint8)[None])
    top, left = int(spec.offset) % (_NOISE - height), int(spec.offset * 31) % (_NOISE - width)
    grain = _noise()[top : top + height, left : left + width]
    return cv2.addWeighted(image, 1.0, cv2.merge((grain, grain, grain)), spec.grain, -127.5 * spec.grain)
