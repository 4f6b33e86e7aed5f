"""Captions and regions out of the JSON that people write beside their images."""

import json
from collections.abc import Mapping

from finevit.contracts import Region

from .files import clean

UNNAMED = "alt"
"""The captioner of a caption whose origin is not told. Several of them are ``alt``, ``alt-2``, ``alt-3``, ..."""
_ROUNDING = 0.01  # boxes may pass the image's edge by so much, and are clipped


def parse_object(data: bytes) -> dict:
    """Return the JSON object in the bytes; ``ValueError`` for anything else."""
    try:
        entry = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error})") from None
    if not isinstance(entry, dict):
        raise ValueError(f"must be a JSON object, not {type(entry).__name__}")
    return entry


def captions(entry: Mapping[str, object], *, text: str = "") -> dict[str, str]:
    """Return captioner -> text of ``text`` and of an entry's ``caption``, ``captions`` and ``text``.

    Each may be a string, a list of strings, or an object that maps captioners to either. Empty texts are dropped, and
    so is a text that the entry gives twice. Raises ``ValueError`` for other types.
    """
    result: dict[str, str] = {}
    _add(result, UNNAMED, text, "text")
    for field in ("caption", "captions", "text"):
        value = entry.get(field)
        named = value.items() if isinstance(value, Mapping) else [(UNNAMED, value)]
        for captioner, texts in named:
            for item in texts if isinstance(texts, list) else [texts]:
                _add(result, str(captioner), item, field)
    return result


def _add(result: dict[str, str], captioner: str, text: object, field: str) -> None:
    if text is None or text != text:  # tables write a missing text as NaN
        return
    if not isinstance(text, str):
        raise ValueError(f"{field!r} must hold text, not {type(text).__name__}")
    text = clean(text)
    if text and text not in result.values():
        taken = sum(name == captioner or name.startswith(f"{captioner}-") for name in result)
        result[f"{captioner}-{taken + 1}" if taken else captioner] = text


def regions(entry: Mapping[str, object]) -> tuple[Region, ...]:
    """Return an entry's ``regions``: a list of ``{"box": [x1, y1, x2, y2], ...}`` with the fields of ``Region``.

    A region that has ``text`` and no ``kind`` is a ``text_line``. Raises ``ValueError`` for a box outside [0, 1].
    """
    value = entry.get("regions") or []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ValueError("'regions' must be a list of objects")
    return tuple(_region(item) for item in value)


def _region(item: Mapping[str, object]) -> Region:
    texts = {field: clean(str(item.get(field) or "")) for field in ("phrase", "caption", "text")}
    kind = str(item.get("kind") or ("text_line" if texts["text"] else "object"))
    class_id = item.get("class_id")
    return Region(box=_box(item.get("box")), kind=kind, class_id=class_id if isinstance(class_id, int) else -1, **texts)


def _box(value: object) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = map(float, value if isinstance(value, list) else ())
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"box {value!r} must be [x1, y1, x2, y2]") from None
    inside = min(x1, y1) >= -_ROUNDING and max(x2, y2) <= 1 + _ROUNDING
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, 1.0), min(y2, 1.0)
    if not (inside and x1 < x2 and y1 < y2):
        wanted = "0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1; divide pixels by the image's width and height"
        raise ValueError(f"box {value!r} must have {wanted}")
    return x1, y1, x2, y2
