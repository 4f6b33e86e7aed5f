"""The named difficulty levels of the embedded data, in one table."""

from typing import NamedTuple

from finevit.suggest import did_you_mean


class Level(NamedTuple):
    """How hard scenes are. Pairs are inclusive ranges; lengths are fractions of the square root of the scene's area.

    ``classes``: size of the vocabulary. ``objects``: how many are tried per scene. ``side``: square root of the area
    in pixels. ``size``: longer side of an object. ``overlap``: how much of an object's box an earlier one may share.
    ``visible``: objects less visible than this fraction are left out of the scene. ``words``: lines of text,
    ``letters``: their height, ``line``: words in a line, ``script``: what is written how, a name in ``SCRIPTS``.
    ``distractors``: background doodles without a class. ``turn``: largest rotation in degrees. ``outside``: how much of
    an object may lie beyond the frame. ``shift``: strength of the changes of hue, contrast and light. ``photos``:
    whether photographs may be backgrounds.
    """

    classes: int
    objects: tuple[int, int]
    side: tuple[int, int]
    size: tuple[float, float]
    overlap: float
    visible: float
    words: tuple[int, int]
    letters: tuple[float, float]
    line: tuple[int, int]
    script: str
    distractors: tuple[int, int]
    turn: float
    outside: float
    shift: float
    photos: bool


_EASY = Level(
    classes=16,
    objects=(1, 4),
    side=(200, 248),
    size=(0.34, 0.62),
    overlap=0.12,
    visible=0.5,
    words=(0, 1),
    letters=(0.06, 0.12),
    line=(1, 1),
    script="any",
    distractors=(0, 0),
    turn=15,
    outside=0.0,
    shift=0.5,
    photos=False,
)
LEVELS: dict[str, Level] = {
    "easy": _EASY,
    "signs": _EASY._replace(words=(1, 2), letters=(0.14, 0.2), script="signs"),
    "medium": Level(
        classes=160,
        objects=(4, 12),
        side=(288, 448),
        size=(0.12, 0.42),
        overlap=0.35,
        visible=0.35,
        words=(0, 3),
        letters=(0.04, 0.1),
        line=(1, 2),
        script="any",
        distractors=(0, 6),
        turn=30,
        outside=0.15,
        shift=0.8,
        photos=False,
    ),
    "hard": Level(
        classes=2000,
        objects=(20, 60),
        side=(560, 1024),
        size=(0.025, 0.3),
        overlap=0.75,
        visible=0.2,
        words=(1, 10),
        letters=(0.014, 0.07),
        line=(1, 4),
        script="any",
        distractors=(4, 24),
        turn=180,
        outside=0.4,
        shift=1.0,
        photos=True,
    ),
}
"""``easy``: minutes of training teach something. ``signs``: as easy, with more to read. ``medium``: hours. ``hard``: thousands of
pixels, classes and occlusions; open for years."""


def find_level(name: str) -> Level:
    """The level of that name. Raises ``ValueError`` that lists the names when there is none."""
    if name not in LEVELS:
        hint = did_you_mean(str(name), LEVELS)
        raise ValueError(f"level={name!r} is not a level of the embedded scenes{hint}: choose one of {', '.join(LEVELS)}.")
    return LEVELS[name]
