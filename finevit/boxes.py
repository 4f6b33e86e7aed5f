"""Boxes as text, in named styles: what a language model writes and reads where a box is meant (paper, Stage III).

A box is canonical everywhere else: floats xyxy in [0, 1] of the whole upright image, x2 and y2 exclusive. The style is chosen when
a question is worded, and named wherever an answer is scored: a box read at the wrong scale is the field's usual wrong result.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from finevit.suggest import did_you_mean

Box = tuple[float, float, float, float]


_PLACES = re.compile(r"<box_(\d{1,4})>")


class Style(NamedTuple):
    """How numbers stand for a box.

    A side has ``units`` of them (0: as many as the resized image has pixels), ``decimals`` after the point where one unit is not 1.
    A number is the nearest border between units, or with ``bins`` the unit that the coordinate lies in, read back at its centre.
    ``number`` writes one number, ``pattern`` reads it, ``box`` joins those of a box, ``boxes`` joins boxes; with ``rows_first`` the
    order is y1 x1 y2 x2.
    """

    units: int
    number: str
    pattern: str
    box: tuple[str, str, str]
    boxes: str = ", "
    decimals: int = 0
    bins: bool = False
    rows_first: bool = False

    def write(self, count: float) -> str:
        """So many units."""
        return self.number.format(count / 10**self.decimals)

    def read(self, number: str) -> float:
        """How many units a number tells of."""
        return float(number) * 10**self.decimals


_LIST = ("[", ", ", "]")
STYLES = {
    "norm1000": Style(1000, "{:.0f}", r"(\d+)", _LIST),
    "bins1000": Style(1000, "<loc_{:.0f}>", r"<loc_(\d+)>", ("", "", ""), boxes="", bins=True),
    "bins100": Style(100, "<{:02.0f}>", r"<(\d\d)>", ("", "", ""), boxes="", bins=True),
    "unit3": Style(1000, "{:.3f}", r"(\d+(?:\.\d+)?)", ("[", ",", "]"), decimals=3),
    "abs_resized": Style(0, "{:.0f}", r"(\d+)", _LIST),
    "loc1024_yxyx": Style(1024, "<loc{:04.0f}>", r"<loc(\d{4})>", ("", "", ""), boxes=" ; ", bins=True, rows_first=True),
}
"""By name: ``norm1000`` ``[12, 34, 560, 780]`` (Qwen2-VL, Qwen3-VL, InternVL; the default), ``bins1000``
``<loc_12><loc_34><loc_560><loc_780>`` (Florence-2's text, 0 to 999), ``bins100`` ``<01><03><56><78>`` (always two digits, so that
the first one always counts tens), ``unit3`` ``[0.012,0.034,0.560,0.780]`` (Shikra), ``abs_resized`` ``[12, 34, 560, 780]`` in
pixels of the image that the model sees (Qwen2.5-VL), ``loc1024_yxyx`` ``<loc0034><loc0012><loc0780><loc0560>`` (PaliGemma, 0 to
1023, y first). Several boxes: lists are joined by a comma, Florence-2's tokens and ``bins100`` by nothing, PaliGemma's by a
semicolon."""


PLACE = "<box_{}>"
"""What stands in a stored text for a box: the first of its boxes is ``<box_0>``."""
GONE = "letters25"
"""A style of before; checkpoints that answer in it give their weights, and answer no more."""


def check_style(style: str) -> Style:
    """The style of that name; ``ValueError`` lists the names."""
    if style == GONE and style not in STYLES:
        raise ValueError(
            f"box style {style!r} is no longer there: weights that answer in it serve for load_from, exports and probes; "
            f"to have them answer, train them with style={' or '.join(STYLES)}"
        )
    if not isinstance(style, str) or style not in STYLES:
        raise ValueError(f"box style {style!r} is unknown{did_you_mean(str(style), STYLES)}; choose one of {', '.join(STYLES)}")
    return STYLES[style]


def fault_of_box(box: Sequence[float]) -> str:
    """Why four numbers are no canonical box; empty where they are one."""
    if len(box) != 4 or not all(map(math.isfinite, box)):
        return "it needs four finite numbers"
    x1, y1, x2, y2 = box
    if min(box) < 0 or max(box) > 1:
        return "it lies outside the image; divide pixels by the image's width and height"
    return "x2 <= x1; give the left edge first" if x2 <= x1 else "y2 <= y1; give the upper edge first" if y2 <= y1 else ""


def check_box(box: Sequence[float]) -> None:
    """``ValueError`` says why a box is none."""
    if fault := fault_of_box(box):
        raise ValueError(f"box {tuple(box)} is no xyxy box in [0, 1]: {fault}")


def render(boxes: Sequence[Box], style: str, size: tuple[int, int]) -> str:
    """The boxes in a style; ``size`` are height and width of the image as the model sees it (of use to ``abs_resized`` alone).

    A box that is thinner than a unit may come out without area, which :func:`parse` then does not take for a box: see
    :func:`legible`.
    """
    form = check_style(style)
    for box in boxes:
        check_box(box)
    sides = _sides(form, style, size)
    start, between, end = form.box
    return form.boxes.join(start + between.join(_numbers(form, box, sides)) + end for box in boxes)


def parse(text: str, style: str, size: tuple[int, int]) -> list[Box]:
    """All boxes of a style in a text, whatever stands around them; what is out of range or without area is no box.

    The scale is the style's and never guessed: fractions are no ``norm1000``, thousands no ``unit3``.
    """
    form = check_style(style)
    sides = _sides(form, style, size)
    boxes = [_box(form, found.groups(), sides) for found in _pattern(form).finditer(text)]
    return [box for box in boxes if not fault_of_box(box)]


def lifted(text: str, style: str, size: tuple[int, int], *, first: int = 0) -> tuple[str, list[Box]]:
    """A text with places, numbered from ``first``, in place of its boxes of a style, and these boxes.

    Numbers that are no box, since they are out of range or without area, stay. ``ValueError`` where the text has places of its own.
    """
    if found := _PLACES.search(text):
        raise ValueError(f"the text {text[:60]!r} holds {found[0]} itself")
    form = check_style(style)
    sides, boxes = _sides(form, style, size), list[Box]()

    def lift(found: re.Match[str]) -> str:
        box = _box(form, found.groups(), sides)
        if fault_of_box(box):
            return found[0]
        boxes.append(box)
        before, after = (found[0].partition(found[0].strip())[part] for part in (0, 2))  # some styles begin and end with a number
        return before + PLACE.format(first + len(boxes) - 1) + after

    return _pattern(form).sub(lift, text), boxes


def filled(text: str, boxes: Sequence[Box], style: str, size: tuple[int, int]) -> str:
    """A text whose places are filled with boxes in a style; a place of a box that is not there stays."""
    return _PLACES.sub(
        lambda found: render([boxes[int(found[1])]], style, size) if int(found[1]) < len(boxes) else found[0],
        text,
    )


def has_places(text: str) -> bool:
    """Whether places of boxes stand in a text."""
    return bool(_PLACES.search(text))


def legible(boxes: Sequence[Box], style: str, size: tuple[int, int]) -> bool:
    """Whether all boxes can be read back once they are rendered; not so one that is thinner than a unit of the style."""
    return len(parse(render(boxes, style, size), style, size)) == len(boxes)


def _sides(form: Style, style: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Units along the side of each of a box's four coordinates, x first."""
    if form.units:
        return (form.units,) * 4
    height, width = size
    if min(size) < 1:
        raise ValueError(
            f"size={tuple(size)} of box style {style!r}: give height and width in pixels of the image that the model sees"
        )
    return width, height, width, height


def _numbers(form: Style, box: Box, sides: Sequence[int]) -> list[str]:
    """A box's four numbers as text, in the style's order."""
    counts = [
        min(math.floor(value * side) if form.bins else round(value * side), side - form.bins)
        for value, side in zip(box, sides, strict=True)
    ]
    return [form.write(count) for count in _swapped(form, counts)]


def _box(form: Style, numbers: Sequence[str], sides: Sequence[int]) -> Box:
    """The box that four numbers stand for, perhaps a faulty one."""
    counts = _swapped(form, [form.read(number) for number in numbers])
    x1, y1, x2, y2 = ((count + 0.5 * form.bins) / side for count, side in zip(counts, sides, strict=True))
    return x1, y1, x2, y2


def _swapped(form: Style, four: Sequence[float]) -> Sequence[float]:
    return [four[place] for place in (1, 0, 3, 2)] if form.rows_first else four


def _pattern(form: Style) -> re.Pattern[str]:
    """Four numbers as the style writes them, with any white space between."""
    start, between, end = form.box
    joined = rf"\s*{re.escape(between.strip())}\s*".join([form.pattern] * 4)
    return re.compile(rf"{re.escape(start)}\s*{joined}\s*{re.escape(end)}", re.ASCII)
