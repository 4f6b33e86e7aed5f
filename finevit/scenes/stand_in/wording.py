"""English of the stand-in: its own words for what is true of a scene, none of the sentences of ``finevit.scenes.templates``.

Three voices, which put facts in other sentences and other order, and leave other facts out: captioners differ so.
"""

from collections.abc import Mapping
from typing import NamedTuple

PLACES: dict[str, tuple[str, ...]] = {
    "at the top left": (
        "in the upper left corner",
        "toward the top left",
        "in the top-left area",
        "in the top left part",
        "up on the left",
    ),
    "at the top": ("near the top", "in the upper middle", "along the top edge", "at the top edge", "high up in the middle"),
    "at the top right": (
        "in the upper right corner",
        "toward the top right",
        "in the top-right area",
        "in the top right part",
        "up on the right",
    ),
    "on the left": ("on the left side", "at the left edge", "in the left half", "far to the left", "at half height on the left"),
    "in the centre": ("in the middle", "near the centre", "in the central area", "at the centre", "right in the centre"),
    "on the right": (
        "on the right side",
        "at the right edge",
        "in the right half",
        "far to the right",
        "at half height on the right",
    ),
    "at the bottom left": (
        "in the lower left corner",
        "toward the bottom left",
        "in the bottom-left area",
        "in the bottom left part",
        "down on the left",
    ),
    "at the bottom": (
        "near the bottom",
        "in the lower middle",
        "along the bottom edge",
        "at the bottom edge",
        "low down in the middle",
    ),
    "at the bottom right": (
        "in the lower right corner",
        "toward the bottom right",
        "in the bottom-right area",
        "in the bottom right part",
        "down on the right",
    ),
}
"""Words for the places of the truth."""
NOWHERE = {
    "object": (
        "The picture includes {a_noun}{details}.",
        "Also present: {a_noun}{details}.",
        "The content includes {a_noun}{details}.",
    ),
    "line": ('Some text says "{text}".', 'Other text: "{text}".'),
}
"""What is said of a thing without its place."""
SIZES: dict[str, tuple[str, ...]] = {
    "tiny": ("tiny", "minute", "very small"),
    "small": ("small", "little"),
    "medium-sized": ("mid-sized", "medium", "medium-sized"),
    "large": ("large", "big", "sizeable"),
    "very large": ("huge", "very big", "very large"),
}
POSES = {
    "not rotated": "standing straight",
    "rotated slightly clockwise": "tilted slightly clockwise",
    "rotated slightly counter-clockwise": "tilted slightly counter-clockwise",
    "rotated clockwise": "tilted clockwise",
    "rotated counter-clockwise": "tilted counter-clockwise",
    "rotated by about a quarter turn": "tipped over sideways",
    "turned upside down": "flipped upside down",
}
COVERS = {
    "mostly hidden": "largely covered by something else",
    "partly hidden": "partially covered",
    "cut off by the edge of the picture": "cropped by the frame",
}
FORMATS = {
    "very wide": "panoramic and very wide",
    "wide": "wide and horizontal",
    "square": "almost square",
    "tall": "tall and vertical",
    "very tall": "very tall and narrow",
}
RELATIONS: dict[str, tuple[str, ...]] = {
    "left of": (
        "{A} {be} left of {b}.",
        "{A} {be} positioned to the left of {b}.",
        "{A} {be} further to the left than {b}.",
        "To the left {be} {a}, to the right {b}.",
    ),
    "right of": (
        "{A} {be} right of {b}.",
        "{A} {be} positioned to the right of {b}.",
        "{A} {be} further to the right than {b}.",
        "To the right {be} {a}, to the left {b}.",
    ),
    "above": (
        "{A} {be} above {b}.",
        "{A} {be} positioned higher than {b}.",
        "{A} {be} placed above {b}.",
        "Higher up {be} {a}, below it {b}.",
    ),
    "below": (
        "{A} {be} below {b}.",
        "{A} {be} positioned lower than {b}.",
        "{A} {be} placed below {b}.",
        "Lower down {be} {a}, above it {b}.",
    ),
    "overlapping": ("{A} {be} in front of {b}.", "{A} partially {cover} {b}.", "{A} {cover} a part of {b}."),
    "larger than": ("{A} {be} bigger than {b}.", "{A} {be} larger in size than {b}.", "{A} {be} clearly larger than {b}."),
    "smaller than": ("{A} {be} smaller than {b}.", "{A} {be} less big than {b}.", "{A} {be} clearly smaller than {b}."),
}
LIGHTS = {
    "at the top left": "from the upper left",
    "at the top right": "from the upper right",
    "at the bottom left": "from the lower left",
    "at the bottom right": "from the lower right",
    "even": "evenly from all sides",
}


class Voice(NamedTuple):
    """How one captioner speaks: templates by kind of fact, the ``order`` of kinds, of which those it leaves out are missing, the
    attributes of objects and texts that it does not mention, and which synonym it likes best."""

    order: tuple[str, ...]
    silent: frozenset[str]
    favourite: int
    templates: Mapping[str, tuple[str, ...]]


_A = Voice(
    order=(
        *("frame", "object", "line", "total", "relation", "count", "largest", "empty"),
        *("no text", "format", "ratio", "light", "absent"),
    ),
    silent=frozenset({"pose"}),
    favourite=0,
    templates={
        "frame": (
            "The {picture} features {things} set on {back}.",
            "The {picture} depicts {things}, with {back} in the background.",
            "We see {things} in front of {back}.",
            "This {picture} presents {things}; the background: {back}.",
        ),
        "object": (
            "{A_noun} {be} located {place}{details}.",
            "Located {place} {be} {a_noun}{details}.",
            "{Place}, the picture features {a_noun}{details}.",
            "{A_noun} {be} visible {place}{details}.",
            "{Place} one notices {a_noun}{details}.",
            "We can see {a_noun} {place}{details}.",
            "One of the objects, {a_noun}, {be} found {place}{details}.",
        ),
        "line": (
            'The text "{text}" appears {place}, written in {ink} {font} characters.',
            '{Place}, the text "{text}" is displayed in {ink} {font} characters.',
            'The word "{text}" can be read {place}, in {ink} {font} letters.',
            'Written {place} in {ink} {font} letters: "{text}".',
        ),
        "total": (
            "In all, the picture contains {count} {items}.",
            "The picture contains a total of {count} {items}.",
            "Altogether it has {count} {items}.",
        ),
        "relation": (),
        "count": ("The picture contains {count} {plural}.", "We can count {count} {plural} in it."),
        "largest": (
            "The most prominent element is {the_noun}.",
            "The picture is dominated by {the_noun}.",
            "Most of the space is filled by {the_noun}.",
            "The largest object is {the_noun}.",
        ),
        "empty": ("The {corner} part of the picture is left empty.", "There is nothing but background in the {corner} corner."),
        "no text": ("The picture does not contain any text.", "There are no words in the picture.", "No writing can be read."),
        "absent": (
            "The picture does not show any {names}.",
            "None of these can be found in the picture: {names}.",
            "There are no {names} in it.",
        ),
        "format": ("The picture has a format that is {format}.", "The picture is {format}."),
        "ratio": ("The long side is around {ratio} times as long as the short side.", "Its sides have a ratio of about {ratio}."),
        "light": ("The picture is lit {light}.", "The brightest light comes {light}."),
    },
)
_B = Voice(
    order=("line", "no text", "total", "object", "count", "frame", "light", "largest", "empty", "format", "ratio", "absent"),
    silent=frozenset({"font", "cover"}),
    favourite=1,
    templates={
        "frame": (
            "Background: {back}; content in front of it: {things}.",
            "Behind the content: {back}, and in front {things}.",
        ),
        "object": (
            "{A_noun} {place}{details}.",
            "{Place}: {a_noun}{details}.",
            "Object shown {place}: {a_noun}{details}.",
            "{A_noun}{details}, {place}.",
        ),
        "line": ('Visible text: "{text}", {ink}, {place}.', 'Text {place} in {ink}: "{text}".'),
        "total": ("A graphic with {count} {items}.", "Number of items shown: {count}."),
        "count": ("Of these, {count} are {plural}.",),
        "largest": ("Main subject: {the_noun}.", "Main element, by size: {the_noun}."),
        "light": ("The light comes {light}.", "Lighting: {light}."),
        "empty": ("Free space can be found here: {corner} corner.", "Only background at the {corner}."),
        "ratio": ("Ratio of the sides: {ratio} to 1.",),
        "no text": ("No visible text.", "Visible text: none."),
        "absent": ("Not shown: {names}.", "Missing: {names}."),
        "format": ("Layout of the graphic: {format}.",),
    },
)
_C = Voice(
    order=("object", "relation", "frame", "line", "light", "largest", "total", "count", "no text", "format", "empty", "absent"),
    silent=frozenset({"size", "ink"}),
    favourite=2,
    templates={
        "frame": (
            "Everything rests against {back}, in which {things} form the whole content.",
            "As a setting, the scene uses {back}; its content: {things}.",
            "The scene shows {things} with {back} behind.",
        ),
        "object": (
            "{Place} rest{s} {a_noun}{details}.",
            "The scene includes {a_noun} {place}{details}.",
            "Our attention goes to {a_noun} {place}{details}.",
            "{Place} the viewer finds {a_noun}{details}.",
            "With {a_noun} {place}{details}, the scene gains an accent.",
        ),
        "line": (
            'A {font} inscription {place} reads "{text}".',
            '{Place} someone wrote "{text}" in {font} script.',
        ),
        "total": ("The scene is made of {count} {items}.",),
        "relation": (),
        "count": ("The scene includes {count} {plural}.",),
        "largest": ("{The_noun} dominate{s} the composition.", "The largest element of the scene: {the_noun}."),
        "light": ("The scene is lit {light}.",),
        "empty": ("The {corner} corner is free of any content.",),
        "no text": ("The scene has no inscription.",),
        "absent": ("The scene lacks {names}.", "The scene goes without {names}."),
        "format": ("The scene is {format} in shape.",),
    },
)
VOICES = {"stand-in-a": _A, "stand-in-b": _B, "stand-in-c": _C}
"""The models of the endpoint."""
PICTURES = ("image", "picture", "graphic", "illustration")
SHORTS = (
    "{Things} on {back}{writing}.",
    "{Things} in front of {back}{writing}.",
    "An illustration of {things} against {back}{writing}.",
)
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


_PLACES = sorted(((words, place) for place in PLACES for words in (place, *PLACES[place])), key=lambda pair: -len(pair[0]))
_SIZES = sorted(((words, size) for size in SIZES for words in (size, *SIZES[size])), key=lambda pair: -len(pair[0]))


def place_of(words: str) -> str:
    """The truth's name of the place that is told first in these words; empty where there is none."""
    found = [(words.lower().find(each), place) for each, place in _PLACES if each in words.lower()]
    return min(found, default=(0, ""), key=lambda pair: pair[0])[1]


def size_of(words: str) -> str:
    """The truth's name of the size that these words begin with, behind an article; empty where there is none."""
    bare = words.lower().removeprefix("a ").removeprefix("an ").removeprefix("the ")
    return next((size for each, size in _SIZES if bare.startswith(f"{each} ")), "")
