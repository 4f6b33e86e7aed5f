"""From a decoded image to patches (captions: ``captions.py``). Boxes are normalised to the whole image, so only a flip moves them.

A sample is a dict with ``image uint8 [height, width, 3]``, ``captions``, ``regions``, ``label_map`` (or None), the request's
``budget``, ``text_length`` and ``drop``, ``counts`` and ``rng``.
"""

import re
from dataclasses import replace

import cv2
import numpy as np

from finevit.contracts import PATCH, SNAP
from finevit.ops.patches import patchify, snapped_size
from finevit.registry import TRANSFORMS

_SIDES = re.compile(r"\b(left|right)", re.IGNORECASE)
"""Also in "leftmost" and "right-hand", not in "bright"."""


@TRANSFORMS.register_module()
class ResizeToBudget:
    """Resizes to the budget: aspect ratio kept, sides snapped to multiples of ``snap``, small images not enlarged."""

    def __init__(self, *, snap: int = SNAP) -> None:
        self.snap = snap

    def __call__(self, sample: dict) -> dict:
        image, budget = sample["image"], sample["budget"]
        height, width = snapped_size(*image.shape[:2], pixels=budget.pixels, square=budget.square, snap=self.snap)
        if image.shape[:2] != (height, width):
            smaller = height * width < image.shape[0] * image.shape[1]
            sample["image"] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
            if sample["label_map"] is not None:
                sample["label_map"] = cv2.resize(sample["label_map"], (width, height), interpolation=cv2.INTER_NEAREST)
        return sample


@TRANSFORMS.register_module()
class RandomFlip:
    """Mirrors the image with a probability, boxes and labels with it; an image whose caption tells left from right stays.

    That is the caption which ``PickCaption`` has drawn, or, without it, any of the record's, and any of a region. Nor is an image
    mirrored in which something is written.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        self.probability = probability

    def __call__(self, sample: dict) -> dict:
        said = sample.get("caption") or " ".join(sample["captions"].values())
        regions = " ".join(f"{region.phrase} {region.caption}" for region in sample["regions"])
        written = any(region.text for region in sample["regions"])
        if sample["rng"].random() >= self.probability or written or _SIDES.search(f"{said} {regions}"):
            return sample
        sample["image"] = np.ascontiguousarray(sample["image"][:, ::-1])
        if sample["label_map"] is not None:
            sample["label_map"] = np.ascontiguousarray(sample["label_map"][:, ::-1])
        sample["regions"] = tuple(replace(r, box=(1 - r.box[2], r.box[1], 1 - r.box[0], r.box[3])) for r in sample["regions"])
        return sample


@TRANSFORMS.register_module()
class Patchify:
    """Cuts the image into patches: ``patches uint8 [rows * cols, 3 * patch * patch]`` and ``shape (rows, cols)``.

    With a label map, ``labels int64 [rows * cols]`` is the class that covers more than half of a patch, else -1.
    """

    def __init__(self, *, patch: int = PATCH) -> None:
        self.patch = patch

    def __call__(self, sample: dict) -> dict:
        image = sample.pop("image")
        sample["shape"] = (image.shape[0] // self.patch, image.shape[1] // self.patch)
        sample["patches"] = patchify(image, self.patch)
        label_map = sample.pop("label_map")
        sample["labels"] = None if label_map is None else self._labels(label_map)
        return sample

    def _labels(self, label_map: np.ndarray) -> np.ndarray:
        cells = np.sort(patchify(label_map[..., None], self.patch), axis=1)
        median = cells[:, cells.shape[1] // 2]
        covered = (cells == median[:, None]).mean(1) > 0.5
        return np.where(covered, median, -1).astype(np.int64)


@TRANSFORMS.register_module()
class DropPatches:
    """After ``Patchify``: leaves out the request's share of the patches at random; at least one stays. ``shape`` is the full grid.

    ``positions int32 [kept, 2]`` are row and column of the patches that are kept, in raster order; ``labels`` are theirs.
    """

    def __call__(self, sample: dict) -> dict:
        count = len(sample["patches"])
        kept = np.sort(sample["rng"].choice(count, max(1, round((1 - sample["drop"]) * count)), replace=False))
        sample["positions"] = np.stack(np.divmod(kept, sample["shape"][1]), axis=1).astype(np.int32)
        sample["patches"] = sample["patches"][kept]
        sample["labels"] = None if sample["labels"] is None else sample["labels"][kept]
        return sample
