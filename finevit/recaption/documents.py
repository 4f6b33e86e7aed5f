"""Document pages told from other images, by what OCR read and by what the paper looks like."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Layout(NamedTuple):
    """How many lines there are, and the share of the picture that they cover."""

    lines: int
    covered: float


def layout(lines: Sequence[dict[str, Any]]) -> Layout:
    """The layout of lines as an OCR engine gives them."""
    quads = np.array([line["quad"] for line in lines], dtype=np.float64).reshape(-1, 4, 2)
    after = np.roll(quads, -1, axis=1)
    areas = np.abs((quads[..., 0] * after[..., 1] - after[..., 0] * quads[..., 1]).sum(axis=1)) / 2
    return Layout(len(quads), float(areas.sum()))


def is_document(
    lines: Sequence[dict[str, Any]],
    *,
    hint: bool,
    least_lines: int = 3,
    least_covered: float = 0.01,
    dense_lines: int = 20,
    dense_covered: float = 0.15,
) -> bool:
    """Whether an image with these lines is a page: some text on what looks like paper (``hint``), or so much text that paper is all
    it can be. Measured by ``benchmarks/ocr/read.py``."""
    found = layout(lines)
    page = hint and found.lines >= least_lines and found.covered >= least_covered
    return page or (found.lines >= dense_lines and found.covered >= dense_covered)
