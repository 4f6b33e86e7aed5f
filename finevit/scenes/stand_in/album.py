"""Which image is it? Images are known by the SHA-256 of their bytes or of their upright RGB pixels, else by how they look."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from finevit.scenes.source import Scenes
from finevit.scenes.stand_in.signs import SIDE, Signs, decoded, pixel_hash, thumbnail
from finevit.scenes.stand_in.witness import SceneWitness, ToldWitness, Witness

ALIKE = 10.0
"""Mean difference of two thumbnails, of 255, from which on they are of different images."""
KEPT = 100_000
"""Images of which it is remembered which they are."""


class Album:
    """Embedded scenes, and images whose truth is told (``read_truth``); ``witness`` finds who knows an image."""

    def __init__(self, scenes: Scenes | None, signs: Signs | None, told: Mapping[str, ToldWitness] | None = None) -> None:
        self._scenes, self._told = scenes, dict(told or {})
        self._indices = {bytes(each): index for index, each in enumerate(signs.hashes)} if signs else {}
        self._thumbnails = signs.thumbnails.astype(np.float32) if signs else np.zeros((0, SIDE * SIDE * 3), np.float32)
        self._by_bytes: dict[str, int | None] = {}
        self._of_scene = lru_cache(4096)(self._look)

    def __len__(self) -> int:
        return len(self._indices) + len(self._told)

    def witness(self, data: bytes) -> Witness | None:
        """Who knows the image of these encoded bytes; None where nobody does."""
        digest = hashlib.sha256(data).hexdigest()
        if digest in self._told:
            return self._told[digest]
        if digest not in self._by_bytes:
            if len(self._by_bytes) > KEPT:
                self._by_bytes.clear()
            self._by_bytes[digest] = self._index(data)
        index = self._by_bytes[digest]
        return None if index is None else self._of_scene(index)

    def _index(self, data: bytes) -> int | None:
        pixels = decoded(data)
        if pixels is None or not self._indices:
            return None
        exact = self._indices.get(pixel_hash(pixels))
        return exact if exact is not None else self._alike(thumbnail(pixels))

    def _alike(self, seen: np.ndarray) -> int | None:
        apart = np.abs(self._thumbnails - seen.astype(np.float32)).mean(axis=1)
        nearest = int(apart.argmin())
        return nearest if apart[nearest] < ALIKE else None

    def _look(self, index: int) -> SceneWitness:
        assert self._scenes is not None
        return SceneWitness(self._scenes.look(index)[1], self._scenes.classes)
