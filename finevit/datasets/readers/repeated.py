"""Captions that many images share ("image", "untitled") tell nothing of one of them (paper, Stage II: repeated ones dropped)."""

from array import array
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np


class Repeats:
    """Counts how many different images each caption describes, in 16 bytes a caption."""

    def __init__(self) -> None:
        self._texts, self._pairs = array("Q"), array("Q")

    def add(self, image: str, texts: Iterable[str]) -> None:
        """The captions of an entry about an image."""
        for text in texts:
            self._texts.append(fingerprint(text))
            self._pairs.append(fingerprint(f"{image}\0{text}"))

    def shared(self, limit: int) -> frozenset[int]:
        """Fingerprints of the captions of more than ``limit`` images."""
        _, first = np.unique(np.array(self._pairs), return_index=True)
        texts, images = np.unique(np.array(self._texts)[first], return_counts=True)
        return frozenset(texts[images > limit].tolist())


def fingerprint(text: str) -> int:
    """64 bits of a text, the same in every process, in upper and lower case."""
    return int.from_bytes(blake2b(text.casefold().encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
