"""Which way up a photograph was when its boxes or label map were drawn: as its file stores it, or turned by its EXIF orientation.

Tools differ. The size that an annotation speaks of tells it, where the two ways differ in size; where they do not, nothing does.
"""

from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image

from finevit.boxes import Box
from finevit.datasets.decoding.images import Header
from finevit.datasets.decoding.pixels import turn

Size = tuple[int, int]
"""Height and width in pixels."""
_POINTS: dict[int, Callable[[float, float], tuple[float, float]]] = {
    2: lambda x, y: (1 - x, y),
    3: lambda x, y: (1 - x, 1 - y),
    4: lambda x, y: (x, 1 - y),
    5: lambda x, y: (y, x),
    6: lambda x, y: (1 - y, x),
    7: lambda x, y: (1 - y, 1 - x),
    8: lambda x, y: (y, 1 - x),
}
"""Where a point of the stored image, in [0, 1], is once the image is turned."""


def turned(box: Box, orientation: int) -> Box:
    """A canonical box of the stored image as one of the upright image."""
    if orientation not in _POINTS:
        return box
    (x1, y1), (x2, y2) = (_POINTS[orientation](*point) for point in (box[:2], box[2:]))
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def said(turns: Iterable[int]) -> str:
    """The end of a description: of how many images the boxes were turned; empty where of none."""
    count = sum(turn != 1 for turn in turns)
    return f", boxes of {count:,} images turned by their EXIF orientation" if count else ""


def turned_map(label_map: np.ndarray, orientation: int) -> np.ndarray:
    """A label map ``[height, width]`` of the stored image as one of the upright image."""
    return np.asarray(turn(Image.fromarray(label_map), orientation))


def turn_of(found: Header | None, annotated: Size | None) -> int:
    """The orientation by which annotations of an image become upright: that of its file, or 1 where they are so already.

    ``annotated`` is the size that they speak of, perhaps of a scaled copy; None: they speak of none. ``ValueError`` where it cannot
    be told. An image that says nothing of itself is left to the decoder.
    """
    if found is None:
        return 1
    upright, stored = (annotated is None or _scaled(annotated, size) for size in (found.upright, found.stored))
    if annotated in (found.upright, found.stored):
        upright, stored = annotated == found.upright, annotated == found.stored
    if not upright and not stored:
        raise ValueError(
            f"its annotations are of an image of {_said(annotated)} pixels, the upright image has {_said(found.upright)}; "
            "correct or remove them"
        )
    if upright and stored and found.orientation != 1:
        told = "do not say of which size it was" if annotated is None else f"of {_said(annotated)} pixels fit it either way"
        raise ValueError(
            f"its EXIF orientation {found.orientation} turns the image, and its annotations {told}: whether they were drawn before "
            "or after cannot be told; turn the pixels themselves (exiftran -a, mogrify -auto-orient) and check the annotations"
        )
    return 1 if upright else found.orientation


def _scaled(size: Size, other: Size) -> bool:
    """Whether one may be the other at another scale, its sides rounded to whole pixels one way or the other."""
    low = max((side - 1) / whole for side, whole in zip(size, other, strict=True))
    high = min((side + 1) / whole for side, whole in zip(size, other, strict=True))
    return low < high


def _said(size: Size | None) -> str:
    assert size is not None, "what speaks of no size fits any"
    return f"{size[1]} x {size[0]}"
