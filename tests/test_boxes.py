"""Boxes as text: every style by hand, there and back, and what is no box."""

import math
import random

import pytest

from finevit.boxes import STYLES, check_box, check_style, fault_of_box, legible, parse, render

SIZE = (280, 448)
BOX = (0.1234, 0.25, 0.5, 0.9996)
BY_HAND = {
    "norm1000": "[123, 250, 500, 1000]",
    "bins1000": "<loc_123><loc_250><loc_500><loc_999>",
    "bins100": "<12><25><50><99>",
    "unit3": "[0.123,0.250,0.500,1.000]",
    "abs_resized": "[55, 70, 224, 280]",
    "loc1024_yxyx": "<loc0256><loc0126><loc1023><loc0512>",
}
UNITS = {
    "norm1000": (1000, 1000),
    "bins1000": (1000, 1000),
    "bins100": (100, 100),
    "unit3": (1000, 1000),
    "abs_resized": SIZE,
    "loc1024_yxyx": (1024, 1024),
}
"""Units of height and width."""
every_style = pytest.mark.parametrize("style", STYLES)


def random_box(rng: random.Random, least: float) -> tuple[float, float, float, float]:
    """A box at least so wide and high; one in four touches the right and lower edges."""
    x1, y1 = (rng.uniform(0, 1 - least) for _ in range(2))
    x2, y2 = (1.0 if rng.random() < 0.25 else rng.uniform(low + least, 1) for low in (x1, y1))
    return x1, y1, x2, y2


def errors(box, other, style) -> list[float]:
    """Differences of the four coordinates in units of the style."""
    height, width = UNITS[style]
    return [abs(a - b) * side for a, b, side in zip(box, other, (width, height, width, height), strict=True)]


@every_style
def test_styles_by_hand(style):
    assert set(BY_HAND) == set(STYLES)
    assert render([BOX], style, SIZE) == BY_HAND[style]
    assert max(errors(parse(BY_HAND[style], style, SIZE)[0], BOX, style)) <= 0.5 + 1e-9


def test_floor_styles_are_read_at_the_centre_of_a_bin():
    assert parse("<loc_0><loc_10><loc_20><loc_999>", "bins1000", SIZE) == [(0.0005, 0.0105, 0.0205, 0.9995)]
    y1, x1, y2, x2 = 0.5 / 1024, 100.5 / 1024, 512.5 / 1024, 1023.5 / 1024
    assert parse("<loc0000><loc0100><loc0512><loc1023>", "loc1024_yxyx", SIZE) == [(x1, y1, x2, y2)]
    assert parse("[0, 10, 20, 1000]", "norm1000", SIZE) == [(0, 0.01, 0.02, 1)]


@every_style
def test_there_and_back_is_within_half_a_unit(style):
    rng, worst = random.Random(0), 0.0
    for _ in range(500):
        boxes = [random_box(rng, least=2 / min(UNITS[style])) for _ in range(rng.randint(1, 4))]
        text = f"They are at {render(boxes, style, SIZE)}, as 4 of [them] show."
        found = parse(text, style, SIZE)
        assert len(found) == len(boxes)
        worst = max(worst, *(max(errors(*pair, style)) for pair in zip(found, boxes, strict=True)))
    assert 0.4 < worst <= 0.5 + 1e-9


@every_style
def test_a_style_reads_what_others_write_only_where_the_form_is_theirs(style):
    """Only the two styles of whole numbers in brackets look alike: the style has to be named."""
    alike = {"norm1000", "abs_resized"}
    for other in set(STYLES) - {style}:
        text = render([(0.1, 0.2, 0.31, 0.43)], other, (700, 800))
        assert bool(parse(text, style, (700, 800))) == ({style, other} == alike), (other, text)


def test_the_size_counts_for_pixels_alone():
    box = (0.25, 0.5, 0.75, 1.0)
    assert render([box], "abs_resized", (100, 200)) == "[50, 50, 150, 100]"
    assert render([box], "abs_resized", (200, 100)) == "[25, 100, 75, 200]"
    assert parse("[50, 50, 150, 100]", "abs_resized", (100, 200)) == [box]
    assert parse("[50, 50, 150, 101]", "abs_resized", (100, 200)) == []
    assert render([box], "norm1000", (0, 0)) == "[250, 500, 750, 1000]"
    with pytest.raises(ValueError, match=r"size=\(0, 200\) of box style 'abs_resized': give height and width"):
        parse("", "abs_resized", (0, 200))


def test_several_boxes_are_joined_as_documented():
    boxes = [(0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)]
    assert render(boxes, "norm1000", SIZE) == "[0, 0, 500, 500], [500, 500, 1000, 1000]"
    assert render(boxes, "bins1000", SIZE).count("><") == 7
    assert render(boxes, "loc1024_yxyx", SIZE).endswith(" ; <loc0512><loc0512><loc1023><loc1023>")
    assert render([], "norm1000", SIZE) == ""


@pytest.mark.parametrize(
    "text",
    [
        '```json\n[{"bbox_2d": [10, 20, 30, 40], "label": "2 cats"}]\n```',
        "<ref>cat</ref><box>[[10, 20, 30, 40]]</box>",
        "Cat number 1 is at [10,20,30,40].",
        "[ 10 ,\n20, 30, 40 ] and [7, 8]",
    ],
)
def test_words_around_a_box_do_not_matter(text):
    assert parse(text, "norm1000", SIZE) == [(0.01, 0.02, 0.03, 0.04)]


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("norm1000", ""),
        ("norm1000", "I cannot see it."),
        ("norm1000", "10, 20, 30, 40"),
        ("norm1000", "[10, 20, 30]"),
        ("norm1000", "[10, 20, 30, 40, 50]"),
        ("norm1000", "[-10, 20, 30, 40]"),
        ("norm1000", "[10, 20, 30, 1001]"),
        ("norm1000", "[30, 20, 10, 40]"),
        ("norm1000", "[10, 40, 30, 40]"),
        ("norm1000", "[0.1, 0.2, 0.3, 0.4]"),
        ("norm1000", f"[0, 0, 1, {'9' * 400}]"),
        ("unit3", "[10, 20, 30, 40]"),
        ("bins1000", "<loc_0><loc_0><loc_5><loc_1000>"),
        ("bins1000", "<loc_0><loc_0><loc_5>"),
        ("loc1024_yxyx", "<loc0000><loc0000><loc1024><loc0005>"),
        ("loc1024_yxyx", "<loc0000><loc0005><loc0005><loc0005>"),
    ],
)
def test_what_is_no_box_is_not_returned(style, text):
    assert parse(text, style, SIZE) == []


def test_a_faulty_box_leaves_the_others():
    assert parse("[30, 20, 10, 40], [1, 2, 3, 4]", "norm1000", SIZE) == [(0.001, 0.002, 0.003, 0.004)]


@every_style
def test_a_box_is_legible_from_a_unit_of_the_style_on(style):
    units = UNITS[style][1]
    thin, wide = ((10.1 / units, 0.1, (10.1 + width) / units, 0.5) for width in (0.3, 1.1))
    assert render([thin], style, SIZE)
    assert [legible(boxes, style, SIZE) for boxes in ([], [wide], [thin], [wide, thin])] == [True, True, False, False]


def test_unknown_styles_are_named():
    assert check_style("unit3") is STYLES["unit3"]
    message = r"box style 'norm_1000' is unknown \(did you mean 'norm1000'\?\); choose one of norm1000, bins1000, bins100"
    for use in (check_style, lambda style: render([BOX], style, SIZE), lambda style: parse("", style, SIZE)):
        with pytest.raises(ValueError, match=message):
            use("norm_1000")
    for wrong in (3, None, ["unit3"]):
        with pytest.raises(ValueError, match=r"box style .* is unknown.*; choose one of"):
            check_style(wrong)


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ((0.1, 0.1, 0.1, 0.2), "x2 <= x1"),
        ((0.1, 0.3, 0.2, 0.2), "y2 <= y1"),
        ((0.1, 0.1, 0.2, 1.1), "outside the image"),
        ((-0.1, 0.1, 0.2, 0.3), "outside the image"),
        ((10, 20, 300, 400), "divide pixels by the image's width and height"),
        ((0.1, 0.1, math.nan, 0.3), "four finite numbers"),
        ((0.1, 0.1, math.inf, 0.3), "four finite numbers"),
        ((0.1, 0.1, 0.2), "four finite numbers"),
    ],
)
def test_faults_of_boxes(box, why):
    assert why in fault_of_box(box)
    with pytest.raises(ValueError, match=f"is no xyxy box in .*{why.split(' <')[0]}"):
        check_box(box)
    with pytest.raises(ValueError, match="is no xyxy box"):
        render([box], "norm1000", SIZE)


def test_the_whole_image_is_a_box():
    assert fault_of_box((0, 0, 1, 1)) == ""
    check_box((0.0, 0.0, 1.0, 1.0))


def test_the_style_of_before_is_refused_with_what_its_weights_are_good_for():
    with pytest.raises(ValueError, match=r"box style 'letters25' is no longer there: .*load_from.*style=norm1000 or bins1000"):
        check_style("letters25")
