"""From a decoded image to patches (captions: ``captions.py``). Boxes are normalised to the whole image: flips and crops move them.

A sample is a dict with ``image uint8 [height, width, 3]``, ``captions``, ``regions``, ``label_map`` (or None), the request's
``budget``, the dataset's ``max_seq_len``, ``counts`` and ``rng``. Arguments in ``scheduled`` may change during a run.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import cv2
import numpy as np
from annotated_types import Ge, Lt
from pydantic import NonNegativeFloat, PositiveInt

from finevit.boxes import Box, fault_of_box
from finevit.contracts import PATCH, SNAP, Region
from finevit.ops.patches import patchify, snapped_size
from finevit.registry import TRANSFORMS
from finevit.signatures import Fraction

_SIDES = re.compile(r"\b(left|right)", re.IGNORECASE)
"""Also in "leftmost" and "right-hand", not in "bright"."""
_WHOLE = 1 - 1e-6
"""A share that is no less than this is all, whatever rounding left of it."""


def image_of(sample: dict, transform: object) -> np.ndarray:
    """The image that a transform is about to change; ``ValueError`` where that comes too late.

    Patches would not show the change, and the boxes in questions would be those of another image.
    """
    for key, other in (("questions", "the questions are asked"), ("patches", "Patchify")):
        if key in sample:
            raise ValueError(f"transforms: {type(transform).__name__} comes after {other}; put it before")
    return sample["image"]


@TRANSFORMS.register_module()
class ResizeToBudget:
    """Resizes to the budget: aspect ratio kept, sides snapped to multiples of ``snap``, small images not enlarged."""

    def __init__(self, *, snap: PositiveInt = SNAP) -> None:
        self.snap = snap

    def __call__(self, sample: dict) -> dict:
        image, budget = image_of(sample, self), sample["budget"]
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
    mirrored in which something is written, or that brings questions along.
    """

    def __init__(self, *, probability: Fraction = 0.5) -> None:
        self.probability = probability

    def __call__(self, sample: dict) -> dict:
        image = image_of(sample, self)
        said = sample.get("caption") or " ".join(sample["captions"].values())
        regions = " ".join(f"{region.phrase} {region.caption}" for region in sample["regions"])
        written = any(region.text for region in sample["regions"]) or sample.get("facts", {}).get("questions")
        if sample["rng"].random() >= self.probability or written or _SIDES.search(f"{said} {regions}"):
            return sample
        sample["image"] = np.ascontiguousarray(image[:, ::-1])
        if sample["label_map"] is not None:
            sample["label_map"] = np.ascontiguousarray(sample["label_map"][:, ::-1])
        sample["regions"] = tuple(replace(r, box=(1 - r.box[2], r.box[1], 1 - r.box[0], r.box[3])) for r in sample["regions"])
        return sample


@TRANSFORMS.register_module()
class CropToRegion:
    """Cuts the image down to the surroundings of one of its regions, with a probability: to look closely before looking far.

    A small part of an image at its native size has few patches, and what a question is about need not be searched for: the encoder
    sees many more words and objects in the same time. For Stage III, before ``ResizeToBudget``. What was told of the whole image
    is false of the part: captions and facts are left out, as are captions of regions. Nothing is cut through: of every other
    region at least ``visible`` is left, of a line of text all, or nothing; where ``tries`` windows fail, the image stays whole.

    Args:
        probability: how many of the images are cut.
        kinds: kinds of regions to look at (``Region.kind``: ``object``, ``text_line``, ``document``); empty for all.
        margin: range of what is added on each side, in shorter sides of the region.
        visible: the least share of another object's box that must be left.
        tries: how many windows are drawn.
    """

    scheduled = ("probability",)

    def __init__(
        self,
        *,
        probability: Fraction = 0.5,
        kinds: Sequence[str] = (),
        margin: tuple[NonNegativeFloat, NonNegativeFloat] = (0.2, 1.0),
        visible: Fraction = 0.5,
        tries: PositiveInt = 4,
    ) -> None:
        if margin[0] > margin[1]:
            raise ValueError(f"CropToRegion.margin={margin!r}: give the least and the most")
        self.probability, self.kinds, self.margin, self.visible, self.tries = probability, kinds, margin, visible, tries

    def __call__(self, sample: dict) -> dict:
        height, width = image_of(sample, self).shape[:2]
        rng, usable = sample["rng"], [region for region in sample["regions"] if not fault_of_box(region.box)]
        chosen = [region for region in usable if not self.kinds or region.kind in self.kinds]
        if rng.random() >= self.probability or not chosen:
            return sample
        for _ in range(self.tries):
            left, top, right, bottom = self._pixels(chosen[rng.integers(len(chosen))].box, height, width, rng)
            window = (left / width, top / height, right / width, bottom / height)
            if not any(self._cuts(window, region) for region in usable):
                break
        else:
            return sample
        for name in ("image", "label_map"):
            if sample[name] is not None:
                sample[name] = np.ascontiguousarray(sample[name][top:bottom, left:right])
        seen = [replace(region, box=_moved(region.box, window), caption="") for region in usable if _share(region.box, window)]
        unknown = [region for region in sample["regions"] if fault_of_box(region.box)]
        return {**sample, "regions": (*seen, *unknown), "captions": {}, "caption": "", "facts": {}, "cut": True}

    def _cuts(self, window: Box, region: Region) -> bool:
        """Whether the window shows too little of a region, but some."""
        return 0 < _share(region.box, window) < (_WHOLE if region.text else self.visible)

    def _pixels(self, box: Box, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Whole pixels around a box: left, top, right, bottom."""
        x1, y1, x2, y2 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
        left, top, right, bottom = min(x2 - x1, y2 - y1) * rng.uniform(*self.margin, 4)
        corner = max(0, math.floor(x1 - left)), max(0, math.floor(y1 - top))
        return *corner, min(width, math.ceil(x2 + right)), min(height, math.ceil(y2 + bottom))


def _share(box: Box, window: Box) -> float:
    """How much of a box lies in the window."""
    wide, high = (min(box[side + 2], window[side + 2]) - max(box[side], window[side]) for side in (0, 1))
    return max(wide, 0.0) * max(high, 0.0) / ((box[2] - box[0]) * (box[3] - box[1]))


def _moved(box: Box, window: Box) -> Box:
    """The box, cut to the window and seen from its corner."""
    left, top, right, bottom = window
    x1, x2 = (min(max((x - left) / (right - left), 0.0), 1.0) for x in box[0::2])
    y1, y2 = (min(max((y - top) / (bottom - top), 0.0), 1.0) for y in box[1::2])
    return x1, y1, x2, y2


@TRANSFORMS.register_module()
class Patchify:
    """Cuts the image into patches: ``patches uint8 [rows * cols, 3 * patch * patch]`` and ``shape (rows, cols)``.

    With a label map, ``labels int64 [rows * cols]`` is the class that covers more than half of a patch, else -1.
    """

    def __init__(self, *, patch: PositiveInt = PATCH) -> None:
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
    """After ``Patchify``: leaves out the ``ratio`` of the patches at random; at least one stays. ``shape`` is the full grid.

    ``positions int32 [kept, 2]`` are row and column of the patches that are kept, in raster order; ``labels`` are theirs.
    """

    scheduled = ("ratio",)

    def __init__(self, *, ratio: Annotated[float, Ge(0), Lt(1)] = 0.0) -> None:
        self.ratio = ratio

    def __call__(self, sample: dict) -> dict:
        count = len(sample["patches"])
        kept = np.sort(sample["rng"].choice(count, max(1, round((1 - self.ratio) * count)), replace=False))
        sample["positions"] = np.stack(np.divmod(kept, sample["shape"][1]), axis=1).astype(np.int32)
        sample["patches"] = sample["patches"][kept]
        sample["labels"] = None if sample["labels"] is None else sample["labels"][kept]
        return sample
