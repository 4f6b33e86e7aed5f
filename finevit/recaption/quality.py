"""What an image is worth, by its pixels alone: sharpness, exposure, colours, shape; and which images are nearly the same.

Measures are kept, verdicts are derived from them by thresholds: pure functions of pixels and of stored numbers.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np

LONG_SIDE = 512
"""Longest side at which everything is measured: the variance of the Laplacian depends on the resolution. Smaller images stay as
they are: enlarging would make each of them blurred."""
DARK, BRIGHT, VIVID = 32, 240, 240
"""Luma below which a pixel shows nothing, luma above which it shows nothing, and chroma (largest less smallest channel) beyond
which its colour is at an end of the range; of 255."""


class Quality(NamedTuple):
    """``sharpness`` is the variance of the Laplacian of luma in [0, 255]; ``brightness`` and ``saturation`` are means in [0, 1];
    ``dark``, ``bright`` and ``vivid`` are shares of the pixels. ``document`` is a hint that it may be a page."""

    sharpness: float
    brightness: float
    saturation: float
    dark: float
    bright: float
    vivid: float
    document: bool


class Limits(NamedTuple):
    """What an image must have. The first two are the paper's, the others were measured (docs/recaption.md)."""

    short_side: int = 448
    aspect: float = 3.0
    sharpness: float = 25.0
    dark: float = 0.95
    bright: float = 0.8
    vivid: float = 0.5


PAPERS = Limits()


def measure(pixels: np.ndarray) -> Quality:
    """The measures of upright RGB ``uint8 [height, width, 3]``."""
    grey, chroma = _luma_chroma(_shrunk(pixels))
    sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var(dtype=np.float64))
    brightness, saturation = float(grey.mean()) / 255, float(chroma.mean()) / 255
    dark, bright, vivid = (float(np.mean(found)) for found in (grey < DARK, grey > BRIGHT, chroma > VIVID))
    return Quality(sharpness, brightness, saturation, dark, bright, vivid, _document(grey, chroma))


def reasons(quality: Quality, width: int, height: int, limits: Limits = PAPERS, document: bool | None = None) -> list[str]:
    """Why an image of this size is rejected; empty where it is not. A page is neither blurred nor over-exposed: paper is smooth and
    white. ``document`` says whether it is one, by the hint where None."""
    page = quality.document if document is None else document
    long, short = max(width, height), min(width, height)
    found = {
        "small": short < limits.short_side,
        "aspect": long > limits.aspect * short,
        "blurred": quality.sharpness < limits.sharpness and not page,
        "under_exposed": quality.dark > limits.dark,
        "over_exposed": quality.bright > limits.bright and not page,
        "over_saturated": quality.vivid > limits.vivid,
    }
    return [reason for reason, holds in found.items() if holds]


def looks_like_document(pixels: np.ndarray) -> bool:
    """A hint, for a few milliseconds, that an image may be a page: paper of one light colour, and ink on it. A drawing on
    white looks so too; whether there is text, only OCR says."""
    return _document(*_luma_chroma(_shrunk(pixels)))


def phash(pixels: np.ndarray) -> str:
    """The perceptual hash of an image, 16 hexadecimal digits (``imagehash.phash``)."""
    import imagehash
    from PIL import Image

    return str(imagehash.phash(Image.fromarray(pixels)))


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    scale = LONG_SIDE / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def _luma_chroma(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``uint8 [height, width]`` each: how light a pixel is, and how far its largest channel is above its smallest."""
    red, green, blue = cv2.split(pixels)
    most, least = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.subtract(most, least)


_HOLE, _CONTRAST, _STEP = np.ones((15, 15), np.uint8), 40, 8
"""Strokes are what closing by such a window fills, where it is darker by so much; what remains is smooth where it changes by less
than the last from one pixel to the next."""
_INK, _LITTLE, _SMOOTH = (0.02, 0.4), 0.003, 0.93
_PAPER, _WHITE, _TINT = 110, 200, 40
"""A page: shares of its pixels that are strokes, and that are smooth without these; median luma and chroma of the paper. On white
paper, few strokes do."""


def _document(grey: np.ndarray, chroma: np.ndarray) -> bool:
    paper = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, _HOLE)
    edges = cv2.morphologyEx(paper, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    ink = float(np.mean(cv2.subtract(paper, grey) > _CONTRAST))
    luma = np.median(paper)
    light = luma > _PAPER and np.median(chroma) <= _TINT
    inked = (_LITTLE if luma > _WHITE else _INK[0]) <= ink <= _INK[1]
    return bool(light and inked and np.mean(edges < _STEP) >= _SMOOTH)


BANDS, BITS = 4, 16
_PAIRS = 2**22
"""Most pairs that are compared at a time."""


def near_duplicates(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """Of each hash (``uint64 [n]``) the smallest index in its group, ``int64 [n]``: groups join all hashes that differ in at most
    ``max_distance`` bits, and those that such pairs link.

    Exact, and below n^2: of two hashes so near, one of four bands of 16 bits differs in at most ``max_distance // 4`` bits: 100,000
    take 0.3 s up to a distance of 3, 3 s up to 7, half a minute up to 11.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    unique, first, inverse = np.unique(hashes.astype(np.uint64), return_index=True, return_inverse=True)
    pairs = [np.zeros((2, 0), np.int64), *_near_pairs(unique, max_distance)]
    left, right = np.concatenate(pairs, axis=1)
    links = coo_array((np.ones(len(left), np.bool_), (left, right)), shape=(len(unique),) * 2)
    count, group = connected_components(links, directed=False)
    earliest = np.full(count, len(hashes), np.int64)
    np.minimum.at(earliest, group, first)
    return earliest[group][inverse]


def _near_pairs(unique: np.ndarray, max_distance: int) -> Iterator[np.ndarray]:
    """Index pairs ``[2, m]`` of hashes at most so far apart, each pair once or more."""
    flips = [sum(1 << bit for bit in bits) for size in range(max_distance // BANDS + 1) for bits in combinations(range(BITS), size)]
    for band in range(BANDS):
        keys = ((unique >> np.uint64(band * BITS)) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for flip in flips:
            begin, end = (np.searchsorted(ordered, keys ^ flip, side) for side in ("left", "right"))
            for left, place in _expanded(begin, end):
                right = order[place]
                near = (left < right) & (np.bitwise_count(unique[left] ^ unique[right]) <= max_distance)
                yield np.stack([left[near], right[near]])


def _expanded(begin: np.ndarray, end: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each row with each place of its range, in parts."""
    counts = end - begin
    total = np.cumsum(counts)
    for start in range(0, int(total[-1]) if len(total) else 0, _PAIRS):
        flat = np.arange(start, min(start + _PAIRS, int(total[-1])))
        row = np.searchsorted(total, flat, "right")
        yield row, begin[row] + flat - (total[row] - counts[row])
