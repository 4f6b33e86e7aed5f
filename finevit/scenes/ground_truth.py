"""What is true of a painted scene, in words that name one thing each: the material of captions, regions and facts."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from finevit.contracts import Region
from finevit.scenes.layout import SceneLayout
from finevit.scenes.painting import Painting
from finevit.scenes.sprites import Seen
from finevit.scenes.vocabulary import Thing, with_article

_SIZES = ((0.1, "tiny"), (0.22, "small"), (0.4, "medium-sized"), (0.6, "large"))
_DISTINCT = 16
"""Up to so many classes, the absence of one is worth telling: in large vocabularies names overlap in meaning."""
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


class Told(NamedTuple):
    """One object in words. ``noun`` names it (``red square``, ``turtle``), ``place`` is one of nine, ``pose`` how it
    is turned (may be empty), ``cover`` how it is hidden (may be empty), ``share`` the fraction of the picture it
    covers."""

    name: str
    noun: str
    size: str
    place: str
    pose: str
    cover: str
    share: float
    pixels: int
    box: tuple[int, int, int, int]


class Line(NamedTuple):
    """One line of text in words."""

    text: str
    font: str
    ink: str
    place: str
    box: tuple[int, int, int, int]


class Relation(NamedTuple):
    """``relation`` holds between the objects numbered ``subject`` and ``object``, from back to front."""

    subject: int
    relation: str
    object: int


class Truth(NamedTuple):
    """Everything captions may say. ``absent`` classes do not occur; nothing lies in the ``empty`` corners."""

    plan: SceneLayout
    objects: list[Told]
    lines: list[Line]
    relations: list[Relation]
    absent: list[str]
    empty: list[str]


def find_truth(plan: SceneLayout, painting: Painting, things: Sequence[Thing]) -> Truth:
    """Look at a painted scene."""
    objects = [_tell(seen, plan, things[seen.placement.thing]) for seen in painting.objects]
    lines = [
        Line(plate.writing.text, plate.writing.font, plate.writing.ink, _place(box, plan), box) for plate, box in painting.lines
    ]
    present = {told.name for told in objects}
    absent = [thing.name for thing in things if thing.name not in present] if len(things) <= _DISTINCT else []
    empty = _empty([*(told.box for told in objects), *(_around(line.box) for line in lines)], plan)
    return Truth(plan, objects, lines, _relate(objects, painting.covers), absent, empty)


def make_regions(truth: Truth, painting: Painting) -> tuple[Region, ...]:
    """The objects from back to front, then the written lines."""
    plan, regions = truth.plan, []
    for told, seen in zip(truth.objects, painting.objects, strict=True):
        extras = "".join(f", {extra}" for extra in (told.pose, told.cover) if extra)
        caption = f"{with_article(told.noun, told.size)} {told.place}{extras}"
        regions.append(Region(_unit(told.box, plan), "object", told.noun, caption, class_id=seen.placement.thing))
    for line in truth.lines:
        caption = f"the text “{line.text}” in {line.ink} {line.font} letters {line.place}"
        regions.append(Region(_unit(line.box, plan), "text_line", f"the text “{line.text}”", caption, text=line.text))
    return tuple(regions)


def make_facts(truth: Truth, painting: Painting) -> dict[str, object]:
    """Counts by class, classes that do not occur (where there are few), relations as (subject, relation, object) with indices
    into the regions, the visible fraction of each object, the background, the strings that are written, and as ``label`` the
    class of the object that covers most."""
    back = truth.plan.background
    largest = max(painting.objects, key=lambda seen: seen.pixels, default=None)
    return {
        **({"label": largest.placement.thing} if largest else {}),
        "counts": dict(Counter(told.name for told in truth.objects)),
        "absent": truth.absent,
        "relations": [tuple(relation) for relation in truth.relations],
        "visible": [round(float(seen.visible), 3) for seen in painting.objects],
        "background": back.photograph.subject if back.photograph else f"{back.texture}: {back.first}, {back.second}",
        "words": [line.text for line in truth.lines],
    }


def _tell(seen: Seen, plan: SceneLayout, thing: Thing) -> Told:
    x1, y1, x2, y2 = seen.box
    span = max(x2 - x1, y2 - y1) / math.sqrt(plan.height * plan.width)
    size = next((word for limit, word in _SIZES if span < limit), "very large")
    noun = f"{seen.placement.tint} {thing.name}".strip()
    pose = "" if thing.is_shape else _pose(math.degrees(seen.placement.turn))
    return Told(
        thing.name,
        noun,
        size,
        _place(seen.box, plan),
        pose,
        _cover(seen),
        seen.pixels / (plan.height * plan.width),
        seen.pixels,
        seen.box,
    )


def _pose(degrees: float) -> str:
    """How a drawing is turned from its usual orientation, which need not be upright (a rocket flies aslant)."""
    turn = abs(degrees)
    if turn < 5:
        return "not rotated"
    if turn < 45:
        return f"rotated {'slightly ' if turn < 16 else ''}{'clockwise' if degrees > 0 else 'counter-clockwise'}"
    if 70 < turn < 110:
        return "rotated by about a quarter turn"
    return "turned upside down" if turn > 160 else ""


def _cover(seen: Seen) -> str:
    if seen.visible < 0.97 * seen.framed:
        return "mostly hidden" if seen.visible < 0.5 * seen.framed else "partly hidden"
    return "cut off by the edge of the picture" if seen.framed < 0.95 else ""


def _place(box: tuple[int, int, int, int], plan: SceneLayout) -> str:
    """Which third of the height and width the centre of a box lies in."""
    row = _ROWS[min(2, int(1.5 * (box[1] + box[3]) / plan.height))]
    column = _COLUMNS[min(2, int(1.5 * (box[0] + box[2]) / plan.width))]
    if row == "middle":
        return "in the centre" if column == "centre" else f"on the {column}"
    return f"at the {row}" if column == "centre" else f"at the {row} {column}"


def _empty(boxes: list[tuple[int, int, int, int]], plan: SceneLayout) -> list[str]:
    """The corners, each a third high and wide, that no object and no text reaches into."""
    high, wide = plan.height / 3, plan.width / 3
    return [
        f"{row} {column}"
        for row, top in (("top", 0.0), ("bottom", 2 * high))
        for column, left in (("left", 0.0), ("right", 2 * wide))
        if all(x2 <= left or left + wide <= x1 or y2 <= top or top + high <= y1 for x1, y1, x2, y2 in boxes)
    ]


def _around(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """More than the plate of a line."""
    margin = box[3] - box[1]
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def _unit(box: tuple[int, int, int, int], plan: SceneLayout) -> tuple[float, float, float, float]:
    return box[0] / plan.width, box[1] / plan.height, box[2] / plan.width, box[3] / plan.height


def _relate(objects: list[Told], covers: list[tuple[int, int]]) -> list[Relation]:
    """Every overlap, and the order and sizes of objects that follow one another; all pairs where objects are few."""
    relations = [Relation(upper, "overlapping", lower) for upper, lower in covers]
    reach = len(objects) if len(objects) <= 6 else 2
    for first, one in enumerate(objects):
        for second in range(first + 1, min(first + 1 + reach, len(objects))):
            relations += [Relation(first, relation, second) for relation in _compare(one, objects[second])]
    return relations


def _compare(one: Told, other: Told) -> list[str]:
    """``left of`` and the like hold where the visible extents do not overlap in that direction; ``larger than`` from
    1.5 times the visible pixels."""
    relations = []
    if one.box[2] <= other.box[0] or other.box[2] <= one.box[0]:
        relations.append("left of" if one.box[2] <= other.box[0] else "right of")
    if one.box[3] <= other.box[1] or other.box[3] <= one.box[1]:
        relations.append("above" if one.box[3] <= other.box[1] else "below")
    if one.pixels >= 1.5 * other.pixels:
        relations.append("larger than")
    elif other.pixels >= 1.5 * one.pixels:
        relations.append("smaller than")
    return relations
