"""Captions and regions out of the JSON that people write beside their images."""

import json
from collections.abc import Container, Mapping
from itertools import chain, count

from finevit.contracts import Region

from .files import clean

UNNAMED = "alt"
"""The captioner of a caption whose origin is not told. Several of them are ``alt``, ``alt-2``, ``alt-3``, ..."""
CAPTION_FIELDS = ("caption", "captions", "text")
_SHOWN = 60  # characters of a wrong value
_ROUNDING = 0.01  # boxes may pass the image's edge by so much, and are clipped


def parse_object(data: bytes | str) -> dict:
    """Return the JSON object in the bytes; ``ValueError`` for anything else."""
    try:
        entry = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error})") from None
    if not isinstance(entry, dict):
        raise ValueError(f"must be a JSON object, not {type(entry).__name__}")
    return entry


def captions(entry: Mapping[str, object], *, text: str | None = None) -> dict[str, str]:
    """Return captioner -> text of ``text`` and of an entry's ``caption``, ``captions`` and ``text``.

    Each may be a string, a list of strings, or an object that maps captioners to either; null is no text. A text that another of
    these fields gave is one and the same (img2dataset writes each twice). Empty ones, and those that one field repeats, stay:
    ``PickCaption`` drops and counts them. Raises ``ValueError`` for other types.
    """
    result: dict[str, str] = {}
    for field, value in (("text", text), *((field, entry.get(field)) for field in CAPTION_FIELDS)):
        others = set(result.values())
        named = value.items() if isinstance(value, Mapping) else [(UNNAMED, value)]
        for captioner, texts in named:
            for item in texts if isinstance(texts, list) else [texts]:
                if not _missing(item) and (found := _text(item, field)) not in others:
                    result[_free(str(captioner), result)] = found
    return result


def _missing(text: object) -> bool:
    return text is None or text != text  # tables write a missing text as NaN


def _text(text: object, field: str) -> str:
    if not isinstance(text, str):
        remedy = "write a string, a list of strings, or an object of captioners with these; null where there is none"
        raise ValueError(f"{field!r} must hold text, not {type(text).__name__} {_short(text)}; {remedy}")
    return clean(text)


def _free(captioner: str, taken: Container[str]) -> str:
    """``alt``, or the first of ``alt-2``, ``alt-3``, ... that is not taken."""
    names = chain([captioner], (f"{captioner}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


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
