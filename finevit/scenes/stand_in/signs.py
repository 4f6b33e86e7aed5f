"""What embedded scenes are known by, drawn once and kept in the cache: hashes of their pixels, and thumbnails."""

import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from finevit.scenes.source import Scenes
from finevit.storage.durable import write_file
from finevit.storage.places import cache_folder, fault

SIDE = 12
"""Side in pixels of the thumbnail by which an image is known that was encoded anew, smaller or with losses."""
_log = logging.getLogger("finevit")
Track = Callable[[Iterable[int]], Iterable[int]]


class Signs(NamedTuple):
    """``hashes uint8 [images, 32]`` of pixels, ``thumbnails uint8 [images, SIDE * SIDE * 3]``."""

    hashes: np.ndarray
    thumbnails: np.ndarray


def decoded(data: bytes) -> np.ndarray | None:
    """Upright RGB ``uint8 [height, width, 3]``; None where it is no image."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def pixel_hash(pixels: np.ndarray) -> bytes:
    """SHA-256 of the shape and the values."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).digest()


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """``uint8 [SIDE * SIDE * 3]``, without the proportions."""
    return cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).reshape(-1)


def signs_of(scenes: Scenes, *, track: Track = iter) -> Signs:
    """Of all scenes: out of the cache where the first and the last are drawn as they were, else drawn, which ``track`` shows."""
    file = _file(scenes)
    if (kept := _kept(file, scenes)) is not None:
        return kept
    found = [_sign(scenes, index) for index in track(range(len(scenes)))]
    signs = Signs(*(np.stack(column) for column in zip(*found, strict=True)))
    packed = io.BytesIO()
    np.savez(packed, hashes=signs.hashes, thumbnails=signs.thumbnails)
    try:
        write_file(file, lambda out: out.write(packed.getvalue()), shared=True)
    except OSError as error:
        _log.warning("The scenes that the stand-in knows cannot be kept (%s); the next start draws them again.", fault(error))
    return signs


def _sign(scenes: Scenes, index: int) -> tuple[np.ndarray, np.ndarray]:
    image = scenes.look(index)[0].image
    return np.frombuffer(pixel_hash(image), np.uint8), thumbnail(image)


def _file(scenes: Scenes) -> Path:
    told = json.dumps([scenes.level, scenes.split, scenes.seed, len(scenes), scenes.max_side, SIDE])
    return cache_folder() / "stand_in" / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.npz"


def _kept(file: Path, scenes: Scenes) -> Signs | None:
    with suppress(OSError, ValueError, KeyError), np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as saved:
        signs = Signs(saved["hashes"], saved["thumbnails"])
        ends = (0, len(scenes) - 1)
        if len(signs.hashes) == len(scenes) and all(np.array_equal(signs.hashes[i], _sign(scenes, i)[0]) for i in ends):
            return signs
    return None
