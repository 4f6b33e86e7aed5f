"""Captions and regions out of the JSON that people write beside their images."""

import json
import math
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import replace
from itertools import chain, count
from typing import NamedTuple

from finevit.boxes import Box
from finevit.contracts import Region
from finevit.datasets.decoding.frames import Size, turn_of, turned
from finevit.datasets.decoding.images import header
from finevit.packing.texts import cleaned

from .encodings import REMEDY
from .fields import short
from .files import clean

UNNAMED = "alt"
"""The captioner of a caption whose origin is not told. Several of them are ``alt``, ``alt-2``, ``alt-3``, ..."""
_TEXTS = ("phrase", "caption", "text")
"""What may be said of a region."""
CAPTION_FIELDS = ("caption", "captions", "text")
DIALOGUES = ("conversations", "messages")
"""Where LLaVA and others write questions and answers."""
_ELSEWHERE = {
    **dict.fromkeys(("objects", "annotations", "boxes", "bbox", "bboxes"), "boxes are read from 'regions'"),
    **dict.fromkeys(("conversation", "question", "questions", "qa", "qas"), "questions and answers are not read yet"),
}
"""Where others write boxes, questions and answers: told, and not read."""
_NOT_CAPTIONS = ("caption", "captions", "text", "description", "prompt", "title", "alt", "alt_text")
"""What others call a caption, in upper or lower case: told where an entry has no other."""
_NOT_PHRASES = ("label", "name", "category", "category_name", "class", "class_name", "description", "expression")
"""What others call a region: told where a region has neither phrase nor caption nor text."""
_ROUNDING = 0.02 + 1e-9  # boxes may pass the image's edge by so much, and are cut
MOST = 2**31  # pixels of a side
_PIXELS = 2  # a box with a larger number is in pixels, if the entry says of how many
NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)
"""The box of a region that has no possible one."""
_NAMELESS = Region(NOWHERE)


def parse_object(data: bytes | str) -> dict:
    """Return the JSON object in the bytes; ``ValueError`` for anything else."""
    try:
        entry = json.loads(data, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise ValueError(f"not {error.encoding.upper()} ({error.reason}); {REMEDY}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error})") from None
    if not isinstance(entry, dict):
        raise ValueError(f"must be a JSON object, not {type(entry).__name__}")
    return entry


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object, none of whose keys comes twice: of such a key JSON keeps the last value alone."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} comes twice")
    return found


def refuse_dialogues(entry: Mapping[str, object]) -> None:
    """``ValueError`` for questions and answers, which nothing here reads yet: they are not to be lost in silence."""
    if field := next((field for field in DIALOGUES if entry.get(field)), ""):
        raise ValueError(
            f"holds {field!r}, and questions and answers are not read yet; write what they say as 'captions' and 'regions', or "
            "remove the field to train on the images alone; or make shards of them, by finevit shards import conversations"
        )


def elsewhere(entry: Mapping[str, object]) -> dict[str, str]:
    """Fields of an entry and of its regions that hold what is read from other fields, and from which."""
    found = {field: remedy for field, remedy in _ELSEWHERE.items() if entry.get(field)}
    if not any(field in entry for field in CAPTION_FIELDS):
        named = [field for field, value in entry.items() if field.lower() in _NOT_CAPTIONS and value]
        found |= dict.fromkeys(named, f"captions are read from {', '.join(map(repr, CAPTION_FIELDS))}")
    regions = entry.get("regions")
    for region in regions if isinstance(regions, list) else ():
        if isinstance(region, Mapping) and all(_missing(region.get(field)) for field in _TEXTS):
            named = [f"regions: {field}" for field in _NOT_PHRASES if region.get(field)]
            found |= dict.fromkeys(named, "what a region is called is read from its 'phrase'")
    return found


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
        raise ValueError(f"{field!r} must hold text, not {type(text).__name__} {short(text)}; {remedy}")
    return clean(text)


def _free(captioner: str, taken: Container[str]) -> str:
    """``alt``, or the first of ``alt-2``, ``alt-3``, ... that is not taken."""
    names = chain([captioner], (f"{captioner}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


class Parts(NamedTuple):
    """The regions of an entry; those ``unplaced``, whose box is impossible or cannot be told; and why, one by one."""

    regions: tuple[Region, ...] = ()
    unplaced: tuple[Region, ...] = ()
    faults: tuple[str, ...] = ()


def regions(entry: Mapping[str, object], image: bytes | None = None) -> Parts:
    """An entry's ``regions``: a list of ``{"box": [x1, y1, x2, y2], ...}`` with the fields of ``Region``.

    Boxes are in [0, 1] of the upright image; one that holds a number above 2 is in pixels of the entry's ``width`` and ``height``,
    and turned as ``image``, the encoded file, says. What passes the edge by 2 % is cut. A region that has ``text`` and no ``kind``
    is a ``text_line``. One that cannot be placed never costs the image: it is ``unplaced``, and a fault says why.
    """
    items = entry.get("regions")
    if not items or _missing(items):
        return Parts()
    if not isinstance(items, list):
        return Parts(unplaced=(_NAMELESS,), faults=(f"'regions' must be a list of objects, not {type(items).__name__}",))
    found = [_region(item, entry, image) for item in items]
    placed, unplaced = ([region for region, fault in found if bool(fault) == faulty] for faulty in (False, True))
    return Parts(tuple(placed), tuple(unplaced), tuple(f"region {i}: {fault}" for i, (_, fault) in enumerate(found) if fault))


def _region(item: object, entry: Mapping[str, object], image: bytes | None) -> tuple[Region, str]:
    """A region, and why it cannot be placed or read."""
    said = _NAMELESS
    try:
        if not isinstance(item, Mapping):
            raise ValueError(f"must be an object with a box, not {type(item).__name__} {short(item)}")
        phrase, caption, text = (cleaned(value) if isinstance(value := item.get(field), str) else "" for field in _TEXTS)
        said = Region(NOWHERE, phrase=phrase, caption=caption, text=text)
        texts = {field: _written(item.get(field), field) for field in _TEXTS}
        kind = _kind(item.get("kind") or ("text_line" if texts["text"] else "object"))
        said = Region(box=NOWHERE, kind=kind, class_id=_class(item.get("class_id")), **texts)
        return replace(said, box=_box(item, entry, image)), ""
    except ValueError as error:
        return said, str(error)


def _written(value: object, field: str) -> str:
    """A text of a region: of a number its digits, of nothing none."""
    if _missing(value):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{field!r} must be a text, not {type(value).__name__} {short(value)}")
    return cleaned(str(value))


def _kind(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"kind must be a text such as 'object' or 'text_line', not {short(value)}")
    return value


def _class(value: object) -> int:
    if _missing(value):
        return -1
    if isinstance(value, bool) or not isinstance(value, int | float) or not _whole(value):
        raise ValueError(f"class_id must be a whole number, not {short(value)}")
    return int(value)


def _whole(value: float) -> bool:
    return math.isfinite(value) and value == int(value)


def _box(item: Mapping[str, object], entry: Mapping[str, object], image: bytes | None) -> Box:
    value = item.get("box")
    if value is None and "bbox" in item:
        raise ValueError("has 'bbox', which may mean corners, or a width and height; write 'box': [x1, y1, x2, y2]")
    try:
        x1, y1, x2, y2 = map(float, value if isinstance(value, list) else ())
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"box {short(value)} must be [x1, y1, x2, y2]") from None
    if max(x1, y1, x2, y2) > _PIXELS and (size := size_of(entry)):
        height, width = size
        if min(x2 - x1, y2 - y1) < 1:
            raise ValueError(f"box {value!r} has no area in an image of {width} x {height} pixels; it must be [x1, y1, x2, y2]")
        box = _inside((x1 / width, y1 / height, x2 / width, y2 / height), f"box {value!r} in {width} x {height} pixels", "")
        return box if image is None else turned(box, turn_of(header(image, whole=True), size))
    return _inside((x1, y1, x2, y2), f"box {value!r}", "; divide pixels by the image's width and height, or give the entry these")


def _inside(box: Box, said: str, remedy: str) -> Box:
    """The box without what passes the edge a little; ``ValueError`` for one that passes by more, or without area."""
    x1, y1, x2, y2 = box
    inside = min(x1, y1) >= -_ROUNDING and max(x2, y2) <= 1 + _ROUNDING
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, 1.0), min(y2, 1.0)
    if not (inside and x1 < x2 and y1 < y2):
        wanted = "0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1" if remedy else "its corners inside, the left upper one first"
        raise ValueError(f"{said} must have {wanted}{remedy}")
    return x1, y1, x2, y2


def size_of(entry: Mapping[str, object]) -> Size | None:
    """Height and width in pixels, where an entry tells both."""
    height, width = entry.get("height"), entry.get("width")
    told = [side for side in (height, width) if isinstance(side, int | float) and 1 <= side < MOST and _whole(side)]
    return (int(told[0]), int(told[1])) if len(told) == 2 else None
