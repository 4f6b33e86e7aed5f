"""Photographs that other packages bring, as backgrounds: two of scikit-learn, eight of scikit-image (the extra ``scenes``)."""

import logging
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np


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
