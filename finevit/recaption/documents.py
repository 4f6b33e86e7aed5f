"""Document pages told from other images, by what OCR read."""

from collections.abc import Sequence
from typing import Any


def is_document(lines: Sequence[dict[str, Any]], *, hint: bool) -> bool:
    """Whether an image with these lines of text is a page."""
    return hint and len(lines) >= 5
