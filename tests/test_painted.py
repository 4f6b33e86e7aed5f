"""Regions painted in the place of the picture: by hand, and read by a model that skips its encoder."""

import numpy as np
import pytest

from finevit.contracts import Region
from finevit.datasets.transforms.painted import texture
from finevit.plugins import load_plugins
from finevit.registry import TRANSFORMS

HOUSE = Region(box=(0.0, 0.25, 0.5, 0.75), phrase="Red  house")
SIGN = Region(box=(0.25, 0.5, 1.0, 0.75), kind="text_line", phrase="the text “AB”", text="AB")
WRONG = Region(box=(0.5, 0.2, 0.4, 0.6), phrase="cloud")


@pytest.fixture(scope="module", autouse=True)
def _plugins():
    load_plugins()


def painted(*regions: Region, scheduled: float | None = None, cut: bool = False, **options: object) -> np.ndarray:
    sample = {"image": np.zeros((56, 112, 3), np.uint8), "regions": regions, "painted": scheduled, "rng": np.random.default_rng(0)}
    found = TRANSFORMS.build({"type": "PaintRegions", **options})({**sample, "cut": cut})
    assert found.get("is_painted", False) == found["image"].any()
    return found["image"]


def test_each_box_is_filled_with_what_it_holds():
    canvas = painted(HOUSE, WRONG)
    assert (canvas[14:42, :56] == np.tile(texture("red house"), (2, 4, 1))).all()
    canvas[14:42, :56] = 128
    assert (canvas == 128).all()


def test_a_later_region_covers_an_earlier_one_and_letters_part_a_line():
    canvas = painted(HOUSE, SIGN)
    letters = np.tile(texture("A"), (1, 5, 1))[:, :42], np.tile(texture("B"), (1, 8, 1))[:, 70 - 14 * 5 :][:, :42]
    assert (canvas[28:42, 28:70] == letters[0]).all()
    assert (canvas[28:42, 70:112] == letters[1]).all()
    assert (canvas[28:42, :28] == np.tile(texture("red house"), (1, 2, 1))).all()


def test_textures_are_means_of_their_words():
    red, house, both = (texture(phrase).astype(int) for phrase in ("red", "house", "red house"))
    assert set(np.unique(red)) == {18, 238}
    assert abs((red + house) / 2 - both).max() <= 1
    assert (texture("house red") == texture("red house")).all()
    assert (red[:4, :4] == red[0, 0]).all()  # coarse: 14 pixels of 4 drawn
    assert 0.3 < (red != house).mean() < 0.7


@pytest.mark.parametrize(
    ("probability", "scheduled", "black"), [(0.0, None, True), (1.0, None, False), (0.0, 1.0, False), (1.0, 0.0, True)]
)
def test_a_schedule_takes_the_place_of_the_probability(probability, scheduled, black):
    assert (painted(HOUSE, scheduled=scheduled, probability=probability) == 0).all() == black


def test_close_ups_stay_as_they_are():
    assert not painted(HOUSE, cut=True).any()


def test_another_probability_is_refused():
    with pytest.raises(ValueError, match=r"PaintRegions.probability=1.5: give a share between 0 and 1"):
        painted(probability=1.5)
