"""Layouts of others, through shards and back: boxes within a rounding of the style, texts exact, what is left out counted."""

import io
import json
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_shards_tool import shards  # noqa: F401 (a fixture)
from test_shards_training import RECORDS, Listed, file, pixels, same

from finevit.boxes import STYLES, filled, lifted, parse
from finevit.contracts import ImageBudget, Question, Record, Region, SampleRequest
from finevit.datasets import NativeImages
from finevit.datasets.readers import RefCOCO, ShardRecords
from finevit.registry import SHARD_FORMATS
from finevit.shards.writing import write_source

pytestmark = pytest.mark.usefixtures("scope")

REGIONS = (
    Region((0.1, 0.25, 0.6, 0.9), phrase="brown dog", caption="A brown dog that sleeps.", class_id=1),
    Region((1 / 3, 0.1, 2 / 3, 0.7), phrase="cat", class_id=0),
    Region((0.5, 0.5, 0.95, 0.6), "text_line", "the text “EXIT”", text="EXIT"),
)
SET = [
    Record("a/1.jpg", file(1), {"m@1": "A dog sleeps beside a cat.", "alt": "dog"}, REGIONS),
    Record("a/2.png", file(2, "PNG", 50, 70), {"alt": "Nothing."}),
    Record("a/3.jpg", file(3, height=80, width=40), {}, REGIONS[:1]),
]


def form(name):
    SHARD_FORMATS.import_from_location()
    return SHARD_FORMATS.module_dict[name]()


@pytest.fixture
def written(tmp_path) -> ShardRecords:
    write_source(Listed(SET), tmp_path / "set")
    return ShardRecords(data_root=tmp_path / "set", split="all")


def there_and_back(source, tmp_path, name, style="norm1000", back=None):
    """What is left out on the way, and the records of the shards that the export was made into."""
    left_out = form(name).write(source, tmp_path / name, style=style, advance=lambda: None)
    found = form(name).records(back(tmp_path / name) if back else tmp_path / name, images=None, style=style)
    write_source(found, tmp_path / f"{name}-back")
    return +left_out, ShardRecords(data_root=tmp_path / f"{name}-back", split="all")


def close(one, other):
    """Whether regions are equal, their boxes to nine digits."""
    assert [replace(region, box=()) for region in one] == [replace(region, box=()) for region in other]
    assert np.allclose([region.box for region in one], [region.box for region in other], rtol=0, atol=1e-9)


def test_jsonl_brings_everything_back(written, tmp_path):
    left_out, back = there_and_back(written, tmp_path, "jsonl")
    assert left_out == {}
    for one, other in zip(SET, back, strict=True):
        assert same(replace(one, facts={}), replace(other, facts={}))
    lines = [json.loads(line) for line in (tmp_path / "jsonl" / "annotations.jsonl").read_text().splitlines()]
    assert [(line["width"], line["height"]) for line in lines] == [(96, 64), (70, 50), (40, 80)]


def test_jsonl_keeps_impossible_regions_and_counts_what_it_cannot_hold(tmp_path):
    write_source(Listed(RECORDS), tmp_path / "set")
    left_out, back = there_and_back(ShardRecords(data_root=tmp_path / "set", split="all"), tmp_path, "jsonl")
    assert left_out == {"facts": 2, "captions that cannot be read or are shared": 2}
    assert [len(record.unplaced) for record in back] == [0, 0, 1, 0, 0]
    assert [record.regions for record in back] == [record.regions for record in RECORDS]


def test_img2dataset_brings_captions_and_regions_back(written, tmp_path):
    left_out, back = there_and_back(written, tmp_path, "img2dataset")
    assert left_out == {"names of images, which the tars call by numbers": 3, "captions whose captioner a .txt does not name": 1}
    assert [record.id for record in back] == ["00000/000000000", "00000/000000001", "00000/000000002"]
    assert [list(record.captions.values()) for record in back] == [list(record.captions.values()) for record in SET]
    assert [record.regions for record in back] == [record.regions for record in SET]
    with tarfile.open(tmp_path / "img2dataset" / "00000.tar") as tar:
        assert tar.getnames()[:3] == ["000000000.jpg", "000000000.txt", "000000000.json"]
        assert tar.extractfile("000000000.txt").read() == b"A dog sleeps beside a cat."


def test_coco_brings_boxes_texts_and_classes_back(written, tmp_path):
    left_out, back = there_and_back(written, tmp_path, "coco")
    assert left_out == {}
    assert [record.id for record in back] == [record.id for record in SET]
    assert [record.captions for record in back] == [record.captions for record in SET]
    for one, other in zip(SET, back, strict=True):
        close(one.regions, other.regions)
    assert back.classes == ["cat", "dog", "object"]
    instances = json.loads((tmp_path / "coco" / "instances.json").read_text())
    assert instances["annotations"][0]["bbox"] == pytest.approx([9.6, 16.0, 48.0, 41.6])
    assert [each["category_id"] for each in instances["annotations"]] == [2, 1, 3, 2]
    again, _ = there_and_back(back, tmp_path / "twice", "coco")
    assert again == {}
    assert json.loads((tmp_path / "twice" / "coco" / "instances.json").read_text())["categories"] == instances["categories"]


def test_coco_as_others_write_it(tmp_path):
    for name, kind in (("1.jpg", 1), ("2.jpg", 2)):
        (tmp_path / name).write_bytes(file(kind))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    Image.fromarray(pixels(3, 60, 90)).save(turned, "JPEG", exif=exif)
    (tmp_path / "3.jpg").write_bytes(turned.getvalue())
    images = [{"id": 7, "file_name": "1.jpg", "width": 96, "height": 64}, {"id": 8, "file_name": "2.jpg"}]
    images += [
        {"id": 9, "file_name": "3.jpg", "width": 90, "height": 60},
        {"id": 10, "file_name": "gone.jpg", "width": 9, "height": 9},
    ]
    told = [
        {"id": 1, "image_id": 7, "category_id": 18, "bbox": [9.6, 16, 48, 32], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 18, "bbox": [0, 0, 96, 64], "iscrowd": 1},
        {"id": 3, "image_id": 8, "category_id": 44, "bbox": [48, 0, 48, 64]},
        {"id": 4, "image_id": 9, "category_id": 44, "bbox": [0, 0, 45, 60]},
        {"id": 5, "image_id": 99, "category_id": 44, "bbox": [0, 0, 45, 60]},
        {"id": 6, "image_id": 8, "category_id": 44, "bbox": [5, 5, 0, 60]},
        {"id": 7, "image_id": 8, "caption": " A  bottle. "},
        {"id": 8, "image_id": 8, "caption": "Two."},
    ]
    categories = [{"id": 18, "name": "dog"}, {"id": 44, "name": "bottle"}]
    (tmp_path / "c.json").write_text(json.dumps({"images": images, "annotations": told, "categories": categories}))
    source = form("coco").records(tmp_path / "c.json", images=None, style="")
    assert source.skipped.count == 3
    assert all(said in str(source.skipped) for said in ("it is a crowd", "its image 99 is not in", "x2 <= x1"))
    written = write_source(source, tmp_path / "set").manifest
    assert written.counts == {"images": {"kept": 3, "rejected": 1}, "captions": {"given": 2}, "regions": {"given": 3}}
    one, two, three = ShardRecords(data_root=tmp_path / "set", split="all")
    close(one.regions, [Region((0.1, 0.25, 0.6, 0.75), phrase="dog", class_id=0)])
    assert two.captions == {"alt": "A bottle.", "alt-2": "Two."}
    close(two.regions, [Region((0.5, 0.0, 1.0, 1.0), phrase="bottle", class_id=1)])
    close(three.regions, [Region((0.0, 0.0, 1.0, 0.5), phrase="bottle", class_id=1)])  # upright


def test_an_image_that_is_turned_comes_back_with_its_boxes(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # half a turn: sizes do not tell it
    out = io.BytesIO()
    Image.fromarray(pixels(3, 60, 90)).save(out, "JPEG", exif=exif)
    write_source(Listed([Record("x.jpg", out.getvalue(), regions=REGIONS)]), tmp_path / "set")
    for name, count in (("coco", 3), ("refcoco", 3), ("jsonl", 3), ("img2dataset", 3)):
        _, back = there_and_back(ShardRecords(data_root=tmp_path / "set", split="all"), tmp_path, name)
        assert np.allclose([region.box for region in back[0].regions], [region.box for region in REGIONS[:count]], atol=1e-9)


def test_refcoco_is_what_its_reader_reads_and_comes_back(written, tmp_path):
    left_out, back = there_and_back(written, tmp_path, "refcoco")
    assert left_out == {"captions": 3, "captions and strings of regions": 3}
    assert [record.id for record in back] == ["a/1.jpg", "a/3.jpg"]
    for one, other in zip((SET[0], SET[2]), back, strict=True):
        close([Region(region.box, phrase=region.phrase, class_id=region.class_id) for region in one.regions], other.regions)
    assert back.classes == ["cat", "dog", "object"]
    read = RefCOCO(data_root=tmp_path / "refcoco", split="train")
    asked = [(question.text, question.boxes[0]) for record in read for question in record.facts["questions"]]
    wanted = [(region.phrase, region.box) for record in SET for region in record.regions]
    assert [text for text, _ in asked] == [text for text, _ in wanted]
    assert np.allclose([box for _, box in asked], [box for _, box in wanted], atol=1e-9)


def test_refer_json_with_splits_and_several_sentences(tmp_path):
    (tmp_path / "1.jpg").write_bytes(file(1))
    images = [{"id": 7, "file_name": "1.jpg", "width": 96, "height": 64}]
    boxes = [{"id": 1, "image_id": 7, "category_id": 5, "bbox": [9.6, 16, 48, 32]}]
    (tmp_path / "instances.json").write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 5, "name": "dog"}]})
    )
    sentences = [{"sent": "the brown  dog"}, {"sent": "dog on the left"}]
    references = [{"ann_id": 1, "split": "testA", "sentences": sentences}, {"ann_id": 3, "split": "val", "sentences": sentences}]
    (tmp_path / "refs(unc).json").write_text(json.dumps(references))
    source = form("refcoco").records(tmp_path, images=None, style="")
    assert source.skipped.count == 1
    assert "annotation 3 is not in instances.json" in str(source.skipped)
    write_source(source, tmp_path / "set")
    (record,) = ShardRecords(data_root=tmp_path / "set", split="all")
    close(
        record.regions, [Region((0.1, 0.25, 0.6, 0.75), phrase=text, class_id=0) for text in ("the brown dog", "dog on the left")]
    )
    assert record.facts == {"splits": ["testA"]}


@pytest.mark.parametrize("style", STYLES)
def test_conversations_bring_texts_and_boxes_back_in_every_style(tmp_path, style):
    boxes = ((0.101, 0.25, 0.6, 0.9), (0.3, 0.1, 0.7, 0.7))
    asked = [
        Question("free", "What is at <box_0>?", "A dog, left of <box_1>.", boxes),
        Question("free", "Is it 3 o'clock?", "No, [1, 2] is not."),
    ]
    write_source(Listed([Record("x", file(1, height=560, width=840), facts={"questions": tuple(asked)})]), tmp_path / "set")
    source = ShardRecords(data_root=tmp_path / "set", split="all")
    left_out, back = there_and_back(source, tmp_path, "conversations", style, back=lambda out: out / "conversations.json")
    assert left_out == {}
    (record,) = back
    assert record.id == "x"
    unit = {"norm1000": 1e-3, "bins1000": 1e-3, "bins100": 1e-2, "unit3": 1e-3, "abs_resized": 1 / 560, "loc1024_yxyx": 1 / 1024}[
        style
    ]
    for one, other in zip(asked, record.facts["questions"], strict=True):
        assert (one.text, one.answer, one.task) == (other.text, other.answer, other.task)
        assert np.allclose(one.boxes, other.boxes, rtol=0, atol=unit / 2 + 1e-6)
    entry = json.loads((tmp_path / "conversations" / "conversations.json").read_text())[0]
    assert entry["conversations"][0]["value"].startswith("<image>\nWhat is at ")
    assert len(parse(entry["conversations"][0]["value"], style, (560, 840))) == 1
    assert "<box_" not in json.dumps(entry)


def test_conversations_of_both_layouts_and_what_is_left_out(tmp_path):
    (tmp_path / "1.jpg").write_bytes(file(1))
    human, gpt = (
        {"from": "human", "value": "<image>\nWhere is the dog?"},
        {"from": "gpt", "value": "It is at [100, 200, 300, 400]."},
    )
    parts = [{"type": "image", "image": "x"}, {"type": "text", "text": "What is at [0, 0, 500, 500] and [0, 0, 9000, 5]?"}]
    entries = [
        {"id": "a", "image": "1.jpg", "conversations": [{"from": "system", "value": "Be brief."}, human, gpt, human]},
        {
            "id": "a",
            "images": ["1.jpg"],
            "messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "A cat."}],
        },
        {"id": "c", "conversations": [human, gpt]},
        {"id": "d", "image": ["1.jpg", "1.jpg"], "conversations": [human, gpt]},
        {"id": "e", "image": "1.jpg", "conversations": [human]},
        {"id": "f", "image": "1.jpg", "conversations": [human | {"value": "<box_0>?"}, gpt]},
        "no entry",
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, entries)))
    source = form("conversations").records(tmp_path / "c.jsonl", images=None, style="norm1000")
    assert source.skipped.count == 5
    for said in (
        "it has no image",
        "it has 2 images",
        "no question with an answer",
        "holds <box_0> itself",
        "must be a JSON object",
    ):
        assert said in str(source.skipped)
    described = source.describe()
    assert "2 boxes in the texts are of the style norm1000" in described
    assert "1 turns that are neither a question nor its answer" in described
    write_source(source, tmp_path / "set")
    one, two = ShardRecords(data_root=tmp_path / "set", split="all")
    assert (one.id, two.id) == ("a", "a-2")
    (question,) = one.facts["questions"]
    assert (question.text, question.answer) == ("Where is the dog?", "It is at <box_0>.")
    assert np.allclose(question.boxes, [(0.1, 0.2, 0.3, 0.4)])
    assert two.facts["questions"][0].text == "What is at <box_0> and [0, 0, 9000, 5]?"


def test_regions_and_captions_become_conversations(written, tmp_path):
    left_out = +form("conversations").write(written, tmp_path / "out", style="unit3", advance=lambda: None)
    entries = json.loads((tmp_path / "out" / "conversations.json").read_text())
    assert [entry["id"] for entry in entries] == ["a/1.jpg", "a/2.png", "a/3.jpg"]
    turns = [turn["value"] for turn in entries[0]["conversations"]]
    assert "A dog sleeps beside a cat." in turns
    assert "[0.100,0.250,0.600,0.900]" in turns
    assert "EXIT" in turns
    assert left_out["captions"] == 1


def test_recorded_questions_are_worded_in_the_style_of_the_training(tmp_path):
    asked = Question("free", "What is at <box_0>?", "A dog at <box_1>, <box_0>.", ((0.1, 0.2, 0.5, 0.9), (0.0, 0.0, 0.25, 0.5)))
    thin = Question("free", "And <box_0>?", "Thin.", ((0.1, 0.2, 0.1001, 0.9),))
    write_source(Listed([Record("x", file(1), facts={"questions": (asked, thin)})]), tmp_path)
    source = ShardRecords(data_root=tmp_path, split="all")
    for style, told in (("norm1000", "[100, 200, 500, 900]"), ("bins100", "<10><20><50><90>")):
        transforms = [{"type": "RandomFlip", "probability": 1.0}, {"type": "AskRecorded", "style": style}]
        sample = NativeImages(source=source, transforms=transforms)[SampleRequest(0, 0, ImageBudget(64 * 96))]
        (question,) = sample["questions"]
        assert question.text == f"What is at {told}?"
        assert question.answer.endswith(f", {told}.")
        assert sample["counts"] == Counter({"boxes too thin for the style": 1})


def test_places_of_boxes():
    assert lifted("at [1, 2, 3, 4], [5, 5, 5, 9]", "norm1000", (0, 0), first=2) == (
        "at <box_2>, [5, 5, 5, 9]",
        [(0.001, 0.002, 0.003, 0.004)],
    )
    assert filled("<box_1> <box_0> <box_7>", [(0, 0, 1, 1), (0, 0, 0.5, 1)], "norm1000", (0, 0)) == (
        "[0, 0, 500, 1000] [0, 0, 1000, 1000] <box_7>"
    )


def test_the_tool_imports_and_exports(shards, tmp_path):  # noqa: F811
    write_source(Listed(SET), tmp_path / "set")
    done = shards("export", "coco", tmp_path / "set", tmp_path / "coco")
    assert (done.code, "3 images as coco" in done.out) == (0, True)
    again = shards("export", "coco", tmp_path / "set", tmp_path / "coco")
    assert (again.code, "is not empty" in again.err) == (2, True)
    assert shards("import", "coco", tmp_path / "coco", tmp_path / "back").code == 0
    assert shards("check", tmp_path / "back").code == 0
    close(ShardRecords(data_root=tmp_path / "back", split="all")[0].regions, REGIONS)
    done = shards("export", "refcoco", tmp_path / "set", tmp_path / "refer")
    assert "not in refcoco: 3 captions\n" in done.err
    for name in ("jsonl", "img2dataset", "conversations"):
        assert shards("export", name, tmp_path / "set", tmp_path / name).code == 0
    lines = Path(tmp_path / "jsonl" / "annotations.jsonl").read_text().splitlines()
    assert len(lines) == 3
