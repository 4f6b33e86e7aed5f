"""The passes of recaptioning, each on tables written by hand."""

import io
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from finevit.contracts import BadSample, Record, Source
from finevit.recaption.passes.assemble import only_text
from finevit.recaption.passes.base import Inputs
from finevit.recaption.passes.duplicates import NearDuplicates
from finevit.recaption.passes.grounding import CANDIDATES
from finevit.recaption.passes.index import Index
from finevit.recaption.passes.phrases import class_name
from finevit.recaption.passes.sample import ClassBalancedSampling
from finevit.recaption.passes.suppress import SUPPRESSED, SuppressBoxes
from finevit.recaption.plan import plan, planned
from finevit.shards.files import read_member


def inputs(shard="00000", shared=None, **tables):
    """What a pass reads: ``pass__table=rows``."""
    found: dict = {}
    for name, table in tables.items():
        own, _, inner = name.partition("__")
        found.setdefault(own, {})[inner] = table
    return Inputs(shard, found, shared, lambda sample: None)


def candidate(number, box, score, noun="ball", sample="s"):
    row = {"region_id": f"{number:032x}", "sample_id": sample, "phrase": noun, "class_name": noun, "detector": "d"}
    return {**row, "bbox": box, "score": score}


def judged(rows, **settings):
    table = pa.Table.from_pylist(rows, schema=CANDIDATES)
    found = SuppressBoxes(**settings).process_shard(inputs(grounding__candidates=table)).tables["regions"].to_pylist()
    return {int(row["region_id"], 16): (row["reasons"] or ["kept"])[0].partition(":")[0] for row in found}


def test_of_boxes_that_overlap_the_best_stays():
    rows = [
        candidate(1, [0.1, 0.1, 0.5, 0.5], 0.9),
        candidate(2, [0.1, 0.1, 0.5, 0.48], 0.8, noun="sphere"),  # IoU 0.95, of another name
        candidate(3, [0.1, 0.1, 0.5, 0.36], 0.7),  # 0.65: a thing of its own
        candidate(4, [0.6, 0.6, 0.605, 0.9], 0.99),
        candidate(5, [0.0, 0.0, 1.0, 0.99], 0.99),
    ]
    assert judged(rows) == {1: "kept", 2: "overlap", 3: "kept", 4: "small", 5: "whole image"}
    assert judged(rows[::-1]) == judged(rows)
    assert judged(rows, iou=0.6)[3] == "overlap"
    assert judged(rows, per_image=1) == {1: "kept", 2: "overlap", 3: "per image", 4: "small", 5: "whole image"}


def regions(count, *, seed, classes):
    """``count`` regions of classes drawn by weight, with random ids."""
    dice = random.Random(seed)
    names = dice.choices(list(classes), weights=list(classes.values()), k=count)
    rows = [{**candidate(dice.getrandbits(128), [0, 0, 0.5, 0.5], 0.5, noun=name), "reasons": []} for name in names]
    return rows


def sampled(shards, **settings):
    """Of each region whether it is kept, and its ``keep_prob``, sampled over shards."""
    own = ClassBalancedSampling(**settings)
    parts = [(name, inputs(name, suppress__regions=pa.Table.from_pylist(rows, schema=SUPPRESSED))) for name, rows in shards]
    shared = own.gather(iter(parts))
    found = {}
    for name, part in parts:
        part.shared = shared[name]
        for row in own.process_shard(part).tables["regions"].to_pylist():
            found[row["region_id"]] = (row["kept"], row["keep_prob"], row["class_name"], row["class_id"])
    return found


def test_sampling_caps_frequent_classes_and_keeps_rare_ones_whatever_the_shards():
    rows = regions(3000, seed=0, classes={"person": 100, "car": 20, "otter": 0.3})
    counts = Counter(row["class_name"] for row in rows)
    assert counts["person"] > counts["car"] > 300 > counts["otter"] > 0
    one = sampled([("0", rows)], cap=300, rare=100)
    shuffled = rows[:]
    random.Random(1).shuffle(shuffled)
    several = sampled([(str(k), shuffled[k::7]) for k in range(7)], cap=300, rare=100)
    assert one == several
    kept = Counter(name for stays, _, name, _ in one.values() if stays)
    assert kept == {"person": 300, "car": 300, "otter": counts["otter"]}
    weights = Counter()
    for stays, probability, name, _ in one.values():
        weights[name] += stays / probability
    assert {name: round(weight, 2) for name, weight in weights.items()} == counts, "keep_prob undoes it"
    assert {number for *_, number in one.values()} == {0, 1, 2}


def test_a_rare_class_is_kept_above_the_cap_too():
    rows = regions(50, seed=2, classes={"otter": 1})
    assert sum(kept for kept, *_ in sampled([("0", rows)], cap=10, rare=100).values()) == 50
    assert sum(kept for kept, *_ in sampled([("0", rows)], cap=10, rare=50).values()) == 10


class Files(Source):
    """Encoded images by name."""

    def __init__(self, files):
        self.files = dict(files)

    def __len__(self):
        return len(self.files)

    def name(self, index):
        return list(self.files)[index]

    def __getitem__(self, index):
        data = self.files[self.name(index)]
        if data is None:
            raise BadSample(f"{self.name(index)}: cannot be read")
        return Record(id=self.name(index), image=data, captions={"alt": "a picture"})

    def describe(self):
        return "files"


def encoded(kind="PNG", size=(40, 30), mode="RGB", **options):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation):
    told = Image.Exif()
    told[0x0112] = orientation
    return told


def bomb():
    """A PNG that says 30,000 x 30,000."""
    data = bytearray(encoded())
    data[16:24] = (30000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def test_every_file_becomes_a_row(tmp_path):
    sixteen = io.BytesIO()
    Image.fromarray(np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40)).save(sixteen, "PNG")
    animated = io.BytesIO()
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    files = {
        "good.png": encoded(),
        "again.png": encoded(),
        "cmyk.jpg": encoded("JPEG", mode="CMYK"),
        "sixteen.png": sixteen.getvalue(),
        "animated.gif": animated.getvalue(),
        "turned.jpg": encoded("JPEG", exif=exif(6)),
        "empty.png": b"",
        "cut.jpg": encoded("JPEG", size=(400, 300))[:5000],
        "text.png": b"no image",
        "pixel.png": encoded(size=(1, 1)),
        "bomb.png": bomb(),
        "gone.png": None,
    }
    source = Files(files)
    shards = plan(source, tmp_path / "index", per_shard=100)
    assert shards == ["00000"]
    given = inputs(shared=planned(source, tmp_path / "index", "00000", tmp_path / "00000.tar"))
    output = Index(images_per_shard=100).process_shard(given)
    rows = {row["source"]: row for row in output.tables["images"].to_pylist()}
    assert list(rows) == list(files)
    assert {name for name, row in rows.items() if row["verdict"] == "kept"} == {*list(files)[:1], *list(files)[2:6]}
    reasons = {name: row["reasons"][0].partition(":")[0] for name, row in rows.items() if row["reasons"]}
    unreadable = dict.fromkeys(list(files)[6:], "unreadable")
    assert reasons == {"again.png": "repeated", **unreadable}
    assert (rows["turned.jpg"]["width"], rows["turned.jpg"]["height"]) == (30, 40), "of the upright image"
    assert output.counts == {"kept": 5, "rejected: repeated": 1, "rejected: unreadable": 6}
    for name, row in rows.items():
        if row["verdict"] == "kept":
            assert read_member(tmp_path / "00000.tar", row["offset"], row["size"]) == files[name]
    assert [row["text"] for row in output.tables["captions"].to_pylist()] == ["a picture"] * 5


def test_of_near_duplicates_the_smallest_id_stays():
    rows = [
        {"row": 0, "sample_id": "b", "phash": "ff00ff00ff00ff00", "verdict": "kept"},
        {"row": 1, "sample_id": "c", "phash": "0123456789abcdef", "verdict": "kept"},
    ]
    other = [{"row": 0, "sample_id": "a", "phash": "ff00ff00ff00ff01", "verdict": "kept"}]
    parts = [
        ("0", inputs("0", index__images=pa.Table.from_pylist(rows))),
        ("1", inputs("1", index__images=pa.Table.from_pylist(other))),
    ]
    assert NearDuplicates(max_distance=1).gather(iter(parts)) == {"0": {"0": "a"}, "1": {}}
    assert NearDuplicates(max_distance=1).gather(iter(parts[::-1])) == {"0": {"0": "a"}, "1": {}}
    assert NearDuplicates(max_distance=0).gather(iter(parts)) == {"0": {}, "1": {}}


def test_the_plan_keeps_its_shards_and_adds_new_records(tmp_path):
    files = {f"{number}.png": b"" for number in (1, 2, 4, 5)}
    assert plan(Files(files), tmp_path, per_shard=2) == ["00000", "00001"]
    more = dict(sorted({**files, "3.png": b""}.items()))
    assert plan(Files(more), tmp_path, per_shard=2) == ["00000", "00001", "00002"]
    shards = [planned(Files(more), tmp_path, shard, tmp_path / "x.tar").names for shard in ("00000", "00001", "00002")]
    assert shards == [["1.png", "2.png"], ["4.png", "5.png"], ["3.png"]]
    assert planned(Files(more), tmp_path, "00001", tmp_path / "x.tar").rows == [3, 4], "where they are now"


@pytest.mark.parametrize(
    ("phrase", "noun"),
    [("a red ball", "ball"), ("the container number", "number"), ("A group of people", "group"), ("two dogs in a park", "dogs")],
)
def test_the_class_of_a_phrase_is_its_head_noun(phrase, noun):
    assert class_name(phrase) == noun


@pytest.mark.parametrize("caption", ["text", "Some text.", "a sign with text", "the words", "white text on a label"[6:]])
def test_captions_that_only_say_text(caption):
    assert only_text(caption)


@pytest.mark.parametrize("caption", ["a red sign", "the text EXIT", "", "on the"])
def test_captions_that_say_more(caption):
    assert not only_text(caption)
