"""Readers of Stage III's evaluation sets: small files laid out as their authors lay them out."""

import io
import json
import os
import pickle
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from finevit.boxes import parse
from finevit.contracts import BadSample, Question
from finevit.datasets.decoding.images import decode
from finevit.datasets.readers.countbench import CountBench
from finevit.datasets.readers.docvqa import DocVQA
from finevit.datasets.readers.fields import field, identity
from finevit.datasets.readers.ocrbench import OCRBench
from finevit.datasets.readers.refcoco import RefCOCO, load_pickle
from finevit.evaluation.probes.readers import CocoRegions, LabelMaps
from finevit.registry import DATASETS


def picture(value: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 20), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write(root: Path, files: dict[str, bytes | list | dict]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return root


def red(record) -> int:
    return int(decode(record.image, name=record.id)[5, 5, 0])


def asked(source, index: int) -> tuple[Question, ...]:
    return source[index].facts["questions"]


# --- RefCOCO --------------------------------------------------------------------------------------------------------


def reference(number: int, split: str, *sentences: str, image: int) -> dict:
    """As refer writes one; its file_name is not that of the image."""
    return {
        "ref_id": number, "ann_id": 100 + number, "image_id": image, "category_id": 1, "split": split, "sent_ids": [],
        "file_name": f"COCO_train2014_{image:012}_{number}.jpg",
        "sentences": [{"sent_id": i, "sent": sent, "raw": sent.upper(), "tokens": []} for i, sent in enumerate(sentences)],
    }  # fmt: skip


BOXES = {100: [8, 5, 16, 10], 101: [0, 0, 40.004, 20], 102: [20, 10, 20, 10], 103: [1, 2, 3, 4], 104: [2, 2, 2, 2]}


def refcoco(root: Path, name: str = "refs(unc).p", protocol: int = 2, **boxes: list) -> Path:
    references = [
        reference(0, "testA", "left  man", "man in red", image=7), reference(1, "testB", "everything", image=8),
        reference(2, "testA", "left man", image=7), reference(3, "testA", "woman", image=9), reference(4, "val", "dog", image=7),
    ]  # fmt: skip
    annotations = [
        {"id": number, "image_id": references[number - 100]["image_id"], "bbox": boxes.get(f"box_{number}", box)}
        for number, box in BOXES.items()
    ]
    images = [{"id": i, "file_name": f"COCO_train2014_{i:012}.jpg", "width": 40, "height": 20} for i in (7, 8, 9)]
    write(root, {"instances.json": {"images": images, "annotations": annotations, "categories": []}})
    write(root, {name: pickle.dumps(references, protocol=protocol)})
    return write(root, {f"train2014/COCO_train2014_{i:012}.jpg": picture(i * 10) for i in (7, 8)})


def where(text: str, *box: float) -> Question:
    return Question("text2box", text, "", boxes=(box,))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_refcoco_has_one_question_an_expression_and_canonical_boxes(tmp_path, protocol):
    root = refcoco(tmp_path, protocol=protocol)
    source = DATASETS.build({"type": "RefCOCO", "data_root": str(root), "split": "testA"})
    assert len(source) == 1
    assert source[0].id == "COCO_train2014_000000000007.jpg"
    assert red(source[0]) == 70
    assert asked(source, 0) == (
        where("left man", 0.2, 0.25, 0.6, 0.75), where("man in red", 0.2, 0.25, 0.6, 0.75), where("left man", 0.5, 0.5, 1.0, 1.0),
    )  # fmt: skip
    said = source.describe()
    assert "refs(unc).p, split 'testA', 4 expressions; 1 images; INCOMPLETE: 1 of 2 images left out" in said
    assert asked(RefCOCO(data_root=root, split="testB"), 0) == (where("everything", 0.0, 0.0, 1.0, 1.0),)
    assert asked(RefCOCO(data_root=root, image_root=root / "train2014"), 0) == (where("dog", 0.05, 0.1, 0.1, 0.2),)
    assert pickle.loads(pickle.dumps(source))[0].facts == source[0].facts


def test_expressions_are_worded_and_boxes_rendered_by_the_transform(tmp_path):
    dataset = {
        "type": "NativeImages", "source": {"type": "RefCOCO", "data_root": str(refcoco(tmp_path)), "split": "testA"},
        "transforms": [{"type": "finevit.ResizeToBudget"}, {"type": "finevit.AskRecorded", "style": "abs_resized"}],
    }  # fmt: skip
    first = DATASETS.build(dataset)[0]["questions"][0]
    assert (first.text, first.style) == ("Where is left man?", "abs_resized")
    height, width = first.size
    assert first.answer == f"[{0.2 * width:.0f}, {0.25 * height:.0f}, {0.6 * width:.0f}, {0.75 * height:.0f}]"
    assert parse(first.answer, first.style, first.size)[0] == pytest.approx(first.boxes[0], abs=0.5 / min(first.size) + 1e-9)


def test_refcoco_takes_the_usual_division_and_names_its_splits(tmp_path):
    refcoco(tmp_path, "refs(google).p")
    assert "refs(google).p" in RefCOCO(data_root=tmp_path).describe()
    refcoco(tmp_path, "refs(umd).p")
    assert "refs(umd).p" in RefCOCO(data_root=tmp_path).describe()
    assert "refs(google).p" in RefCOCO(data_root=tmp_path, split_by="google").describe()
    with pytest.raises(
        ValueError, match=r"split_by='unc': looked for refs\(unc\)\.p and instances\.json; the folder holds instances"
    ):
        RefCOCO(data_root=tmp_path, split_by="unc")
    with pytest.raises(ValueError, match=r"split='testa' is not in .*\(did you mean 'testA'\?\); it has testA, testB, val"):
        RefCOCO(data_root=tmp_path, split="testa")
    (tmp_path / "instances.json").unlink()
    with pytest.raises(ValueError, match=r"looked for refs\(unc\)\.p or refs\(umd\)\.p or refs\(google\)\.p and instances\.json"):
        RefCOCO(data_root=tmp_path)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([8, 5, 0, 10], "has bbox [8, 5, 0, 10] in 40 x 20 pixels: x2 <= x1; give the left edge first"),
        ([8, 5, 16, -1], "has bbox [8, 5, 16, -1] in 40 x 20 pixels: y2 <= y1; give the upper edge first"),
        (
            [50, 5, 9, 9],
            "has bbox [50, 5, 9, 9] in 40 x 20 pixels: it lies outside the image; divide pixels by the image's width and height",
        ),
        ([8, 5], "has bbox [8, 5]: it needs four numbers"),
        ([], "has bbox []: it needs four numbers"),
        (["a", 1, 2, 3], "has bbox ['a', 1, 2, 3]: it needs four numbers"),
        ([float("nan"), 1, 2, 3], "has bbox [nan, 1, 2, 3]: it needs four finite numbers"),
        ([1, 1, 2, float("inf")], "has bbox [1, 1, 2, inf]: it needs four finite numbers"),
        (None, "has bbox None: it needs four numbers"),
    ],
)
def test_one_impossible_box_costs_its_expressions_alone(box, said, tmp_path):
    source = RefCOCO(data_root=refcoco(tmp_path, box_100=box), split="testA")
    assert asked(source, 0) == (where("left man", 0.5, 0.5, 1.0, 1.0),)
    assert source.skipped.listed[:2] == [f"refs(unc).p: reference 0: annotation 100 {said}"] * 2
    assert source.describe().endswith("2 expressions; 1 images; INCOMPLETE: 2 expressions, 1 of 2 images left out")


def test_impossible_references_are_left_out_and_named(tmp_path):
    refcoco(tmp_path)
    references = [
        reference(0, "val", "left man", "", image=7), reference(0, "val", image=7),
        {**reference(0, "val", "x", image=7), "ann_id": 99},
        {**reference(0, "val", "x", image=7), "ann_id": [100, 102]}, {**reference(0, "val", "x", image=7), "ann_id": np.int64(102)},
        {**reference(0, "val", "x", image=7), "sentences": [{"raw": "x"}, {"sent": np.float32(2)}]},
        {**reference(0, "val", image=7), "sentences": 5}, {"ann_id": 100}, None, {**reference(0, "val", "x", image=7), "split": 3},
    ]  # fmt: skip
    write(tmp_path, {"refs(unc).p": pickle.dumps(references, 2)})
    source = RefCOCO(data_root=tmp_path)
    assert asked(source, 0) == (where("left man", 0.2, 0.25, 0.6, 0.75), where("x", 0.5, 0.5, 1.0, 1.0))
    assert [said.removeprefix("refs(unc).p: reference ") for said in source.skipped.listed] == [
        "7: an entry is not a reference with split, ann_id and sentences: it has no 'split'",
        "8: an entry is not a reference with split, ann_id and sentences: it is null, not an object with 'split'",
        "9: its split is 3",
        "0: annotation 100 has an expression without words",
        "1: annotation 100 has an expression without words",
        "2: annotation 99 is not in instances.json",
        "3: ann_id is [100, 102]: expressions of several objects or of none (gRefCOCO) are not read",
        "5: annotation 100 has an expression without words",
        "5: an entry is not a reference with split, ann_id and sentences: its 'sent' is a number, 2.0, not a text",
        "6: annotation 100 has an expression without words",
    ]
    assert source.describe().endswith("; INCOMPLETE: 3 references, 7 expressions left out")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_numbers_of_numpy_are_read_and_no_more(protocol, tmp_path):
    numbers = [
        np.int64(-7),
        np.int32(5),
        np.uint8(200),
        np.float64(0.1),
        np.float32(0.5),
        np.bool_(True),
        np.array([1, 2], ">i2")[1],
    ]
    read = load_pickle(write(tmp_path, {"n.p": pickle.dumps(numbers, protocol)}) / "n.p")
    assert read == [-7, 5, 200, 0.1, 0.5, True, 2]
    assert [type(number) for number in read] == [int, int, int, float, float, bool, int]
    for other in (np.zeros(2), np.array(["a"])[0], np.datetime64("2020-01-01"), np.zeros(1, "O")):
        write(tmp_path, {"o.p": pickle.dumps([other], protocol)})
        with pytest.raises(ValueError, match=r"o\.p is not a pickle of plain values"):
            load_pickle(tmp_path / "o.p")


# --- Photographs that their EXIF entry turns -------------------------------------------------------------------------


def photo(orientation: int, size: tuple[int, int] = (100, 60)) -> bytes:
    """Stored as 100 x 60, black but for a red object at x 10 to 40, y 6 to 24."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[6:24, 10:40] = (255, 0, 0)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    return file.getvalue()


def object_in(image: np.ndarray) -> tuple[float, ...]:
    rows, columns = np.nonzero(image[..., 0] > 200)
    height, width = image.shape[:2]
    return columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height


def turned_set(root: Path, orientations, size, box=(10, 6, 30, 18)) -> Path:
    """RefCOCO and COCO of photographs, one an orientation, annotated in pixels of ``size`` (width and height, or None)."""
    size = {} if size is None else {"width": size[0], "height": size[1]}
    images = [{"id": i, "file_name": f"{i}.png", **size} for i in range(len(orientations))]
    annotations = [{"id": 100 + i, "image_id": i, "category_id": 1, "bbox": list(box)} for i in range(len(orientations))]
    references = [reference(i, "val", "red", image=i) for i in range(len(orientations))]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    write(root, {"instances.json": content, "refs(unc).p": pickle.dumps(references)})
    return write(root, {f"{i}.png": photo(orientation) for i, orientation in enumerate(orientations)})


def boxes_and_objects(root: Path):
    """Both readers: the box that they tell of each image, and where its object is."""
    for source in (RefCOCO(data_root=root), CocoRegions(annotations=root / "instances.json", image_root=root)):
        for i in range(len(source)):
            record = source[i]
            (told,) = [q.boxes[0] for q in record.facts.get("questions", ())] or [region.box for region in record.regions]
            yield record.id, told, object_in(decode(record.image, name=record.id))


@pytest.mark.parametrize("scale", [1, 2.03])
def test_boxes_of_the_stored_image_are_turned_with_it(tmp_path, scale):
    box = [value * scale for value in (10, 6, 30, 18)]
    root = turned_set(tmp_path, (1, 5, 6, 7, 8), [round(100 * scale), round(60 * scale)], box)
    assert "5 expressions, boxes of 4 images turned by their EXIF orientation; 5 images" in RefCOCO(data_root=root).describe()
    told = list(boxes_and_objects(root))
    assert [name for name, *_ in told] == [f"{i}.png" for i in range(5)] * 2
    for _, box, seen in told:
        assert box == pytest.approx(seen, abs=1e-9 if scale == 1 else 0.01)


def test_boxes_of_the_upright_image_stay(tmp_path):
    root = turned_set(tmp_path, (6,), (60, 100), (36, 10, 18, 30))
    assert "turned" not in RefCOCO(data_root=root).describe()
    for _, told, seen in boxes_and_objects(root):
        assert told == pytest.approx(seen, abs=1e-9)


@pytest.mark.parametrize(
    ("orientation", "size", "said"),
    [
        (2, (100, 60), "annotations of 100 x 60 pixels fit it either way"),
        (3, (100, 60), "its EXIF orientation 3 turns the image, and its annotations of 100 x 60 pixels fit it either way"),
        (4, (50, 30), "annotations of 50 x 30 pixels fit it either way"),
        (6, None, "its annotations do not say of which size it was: whether they were drawn before or after cannot be told"),
        (
            1,
            (60, 100),
            "its annotations are of an image of 60 x 100 pixels, the upright image has 100 x 60; correct or remove them",
        ),
        (6, (90, 90), "its annotations are of an image of 90 x 90 pixels, the upright image has 60 x 100"),
    ],
)
def test_boxes_that_cannot_be_placed_are_left_out_and_named(tmp_path, orientation, size, said):
    root = turned_set(tmp_path, (orientation,), size)
    other = json.loads((root / "instances.json").read_text())
    other["images"].append({"id": 9, "file_name": "9.png", "width": 100, "height": 60})
    other["annotations"].append({**other["annotations"][0], "id": 109, "image_id": 9})
    references = [reference(0, "val", "red", image=0), reference(9, "val", "red", image=9)]
    write(root, {"9.png": photo(1), "instances.json": other, "refs(unc).p": pickle.dumps(references)})
    for source in (RefCOCO(data_root=root), CocoRegions(annotations=root / "instances.json", image_root=root)):
        assert [source[i].id for i in range(len(source))] == ["9.png"]
        assert source.describe().endswith("; INCOMPLETE: 1 of 2 images left out")
        (named,) = source.skipped.listed
        assert named.startswith("instances.json: 0.png: ")
        assert said in named


def test_an_instances_file_without_sizes_takes_those_of_its_images(tmp_path):
    for _, told, seen in boxes_and_objects(turned_set(tmp_path, (1, 1), None)):
        assert told == pytest.approx(seen, abs=1e-9)


def test_objects_that_are_none_are_left_out_and_named(tmp_path):
    root = turned_set(tmp_path, (1,), (100, 60))
    content = json.loads((root / "instances.json").read_text())
    good = content["annotations"][0]
    content["annotations"] += [
        {**good, "bbox": []}, {key: value for key, value in good.items() if key != "bbox"},
        {**good, "category_id": 9}, {**good, "image_id": 7},
        {**good, "bbox": [50, 50, -10, 10]}, None, {**good, "bbox": [1, 1, 3, 3], "iscrowd": 1}, {**good, "image_id": 5},
        {**good, "image_id": "0", "bbox": ["0", "0", "50", "30"]},
    ]  # fmt: skip
    content["images"] += [{"id": 5, "file_name": "0.png", "width": 60, "height": 100}, None]
    content["categories"] += [{"id": 2}]
    write(root, {"instances.json": content})
    source = CocoRegions(annotations=root / "instances.json", image_root=root)
    assert [region.box for region in source[0].regions] == [(0.1, 0.1, 0.4, 0.4), (0.0, 0.0, 0.5, 0.5)]
    assert source.skipped.listed[0] == "instances.json: category 1: an entry is not a category with id and name: it has no 'name'"
    assert [said.removeprefix("instances.json: annotation ") for said in source.skipped.listed[1:]] == [
        "1: annotation 100 has bbox []: it needs four numbers",
        "2: annotation 100 has no bbox",
        "3: its category 9 is not in the file",
        "4: its image 7 is not in instances.json",
        "5: annotation 100 has bbox [50, 50, -10, 10] in 100 x 60 pixels: x2 <= x1; give the left edge first",
        "6: an entry is not an annotation with image_id, category_id and bbox: it is null, not an object with 'image_id'",
        "8: image 5 has the file_name of image 0, but another size",
    ]
    assert source.describe().endswith("1 categories; 1 images; INCOMPLETE: 1 categories, 7 objects left out")


def test_images_of_lvis_are_found_by_their_address(tmp_path):
    images = [
        {"id": i, "coco_url": f"http://x/{place}/{i}.png", "width": 100, "height": 60}
        for i, place in enumerate(("train2017", "val2017"))
    ]
    annotations = [{"id": i, "image_id": i, "category_id": 1, "bbox": [10, 6, 30, 18]} for i in range(2)]
    write(tmp_path, {"lvis.json": {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}})
    write(tmp_path, {"train2017/0.png": photo(1), "val2017/1.png": photo(1)})
    source = CocoRegions(annotations=tmp_path / "lvis.json", image_root=tmp_path / "val2017")
    assert [object_in(decode(source[i].image, name="x")) for i in range(2)] == [(0.1, 0.1, 0.4, 0.4)] * 2
    (tmp_path / "val2017").rename(tmp_path / "pictures")
    source = CocoRegions(annotations=tmp_path / "lvis.json", image_root=tmp_path / "pictures")
    assert len(source) == 2


def drawn(image: np.ndarray) -> bytes:
    """The object as a label map, beside more than a PNG may hold in Pillow's eyes."""
    file = io.BytesIO()
    Image.fromarray((image[..., 0] > 200).astype(np.uint8)).save(file, "PNG", icc_profile=b" " * 1_200_000)
    return file.getvalue()


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_label_maps_lie_as_their_images_do(tmp_path, orientation, upright):
    maps = {"a": drawn(decode(photo(orientation if upright else 1), name="x")), "b": drawn(decode(photo(1), name="x"))}
    write(tmp_path, {f"annotations/training/{name}.png": data for name, data in maps.items()})
    write(tmp_path, {"images/training/a.png": photo(orientation), "images/training/b.png": photo(1)})
    source = LabelMaps(root=tmp_path, split="training")
    if orientation in (2, 3, 4):
        with pytest.raises(BadSample, match=rf"a\.png: its EXIF orientation {orientation} .* of 100 x 60 pixels fit it either way"):
            source[0]
    else:
        np.testing.assert_array_equal(source[0].label_map == 0, source[0].image[..., 0] > 200)


@pytest.mark.parametrize(
    ("sent", "width", "said"),
    [(" ", 40, "annotation 100 has an expression without words"), ("man", 0, "image 7 has 0 x 20 pixels")],
)
def test_refcoco_names_what_is_empty(sent, width, said, tmp_path):
    images = [{"id": 7, "file_name": "a.jpg", "width": width, "height": 20}]
    annotations = [{"id": 100, "image_id": 7, "bbox": BOXES[100]}]
    refs = pickle.dumps([reference(0, "testA", sent, image=7)])
    write(tmp_path, {"refs(unc).p": refs, "instances.json": {"images": images, "annotations": annotations}})
    with pytest.raises(ValueError, match=said):
        RefCOCO(data_root=tmp_path, split="testA")


class Harmful:
    """What a pickle can do to who loads it."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("harmful", [Harmful(), [{"split": Harmful()}], {Path("x")}])
def test_a_pickle_that_names_code_is_refused_and_not_run(tmp_path, monkeypatch, harmful):
    monkeypatch.chdir(tmp_path)
    refcoco(tmp_path)
    write(tmp_path, {"refs(unc).p": pickle.dumps(harmful)})
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p is not a pickle of plain values \(it holds .*\..*; fetch it again"):
        RefCOCO(data_root=tmp_path)
    assert not (tmp_path / "harm").exists()


def test_torn_and_other_pickles_are_named(tmp_path):
    data = pickle.dumps(list(range(1000)))
    write(tmp_path, {"torn.p": data[:-9], "empty.p": b"", "text.p": b"{}", "plain.p": pickle.dumps([{"a": (1, 2.5, "é", None)}])})
    for name in ("torn.p", "empty.p", "text.p"):
        with pytest.raises(ValueError, match=rf"{name} is not a pickle of plain values"):
            load_pickle(tmp_path / name)
    assert load_pickle(tmp_path / "plain.p") == [{"a": (1, 2.5, "é", None)}]
    assert load_pickle(write(tmp_path, {"two.p": b"(lp0\nS'caf\\xc3\\xa9'\np1\na."}) / "two.p") == ["café"]  # Python 2
    refcoco(tmp_path)
    write(tmp_path, {"refs(unc).p": pickle.dumps([{"ann_id": 1}])})
    with pytest.raises(ValueError, match="an entry is not a reference with split, ann_id and sentences"):
        RefCOCO(data_root=tmp_path)


# --- CountBench -----------------------------------------------------------------------------------------------------

CAPTION = "Which number is missing in this caption of the image: "


def test_countbench_never_shows_the_number(tmp_path):
    rows = [
        {"image": "images/a.png", "text": "Set of Six  chairs, 6 pieces, 1965", "number": 6},
        {"image_path": "images/b.png", "text": "Five dogs", "number": 5, "question": "How many dogs are there in the image?"},
        {"image": "images/gone.png", "text": "two cats", "number": 2},
        {"image": None, "image_url": "http://x/y.png", "text": "ten cats", "number": 10},
        {"file_name": "images/b.png", "text": "a few cats", "number": 3},
    ]
    write(tmp_path, {"CountBench.json": rows, "images/a.png": picture(10), "images/b.png": picture(20)})
    write(tmp_path, {"rows.jsonl": "\n".join(map(json.dumps, [*rows, ""][:5])).encode()})
    for name in ("CountBench.json", "rows.jsonl"):
        source = DATASETS.build({"type": "CountBench", "annotations": str(tmp_path / name)})
        assert [(source[i].id, red(source[i])) for i in range(len(source))] == [("0", 10), ("1", 20)]
        assert asked(source, 0) == (Question("counting", f"{CAPTION}Set of ___ chairs, ___ pieces, 1965", "6"),)
        assert asked(source, 1) == (Question("counting", "How many dogs are there in the image?", "5"),)
        assert source.describe().endswith("CountBench; 2 images; INCOMPLETE: 3 of 5 images left out")
        assert str(source.skipped).endswith("row 4: its caption 'a few cats' does not say 3; give a question")
    assert pickle.loads(pickle.dumps(source))[1].facts == source[1].facts


def test_countbench_takes_the_questions_of_countbenchqa_by_row(tmp_path):
    rows = [{"image": None, "text": "two cats", "number": 2}, {"image": "a.png", "text": "ten cats", "number": 10}]
    write(
        tmp_path, {"a.json": rows, "a.png": picture(), "q.json": [{"question": "How many dogs?"}, {"question": "How many cats?"}]}
    )
    source = CountBench(annotations=tmp_path / "a.json", questions=tmp_path / "q.json")
    assert asked(source, 0) == (Question("counting", "How many cats?", "10"),)
    write(tmp_path, {"q.json": [{"question": "How many dogs?"}]})
    with pytest.raises(ValueError, match="has 1 questions for 2 rows; give the file that fits"):
        CountBench(annotations=tmp_path / "a.json", questions=tmp_path / "q.json")


def test_countbench_reads_parquet_where_pyarrow_is(tmp_path, monkeypatch):
    """With a stand-in for pyarrow, which is no dependency of the core."""
    rows = [
        {"image": {"bytes": picture(30), "path": None}, "text": "three cats", "number": 3, "image_url": "http://x"},
        {"image": None, "text": "two cats", "number": 2, "image_url": "http://y"},
    ]
    path = write(tmp_path, {"train.parquet": pickle.dumps(rows)}) / "train.parquet"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"Parquet files need pyarrow; run `pip install pyarrow`"):
        CountBench(annotations=path)
    package, module = ModuleType("pyarrow"), ModuleType("pyarrow.parquet")
    package.parquet = module
    module.read_table = lambda path: type("Table", (), {"to_pylist": lambda self: pickle.loads(path.read_bytes())})()
    monkeypatch.setitem(sys.modules, "pyarrow", package)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", module)
    source = CountBench(annotations=path)
    assert (len(source), red(source[0])) == (1, 30)
    assert asked(source, 0)[0].text == f"{CAPTION}___ cats"
    assert "INCOMPLETE: 1 of 2" in source.describe()


def test_countbench_refuses_other_files(tmp_path):
    write(tmp_path, {"a.json": {}, "b.json": [{"image": "x.png", "text": "two", "number": 2}], "c.json": [{"image": "x.png"}]})
    with pytest.raises(ValueError, match="must hold a list of entries, not dict"):
        CountBench(annotations=tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"holds no usable entry: b\.json: row 0: .*x\.png is missing; .* holds a\.json"):
        CountBench(annotations=tmp_path / "b.json")
    with pytest.raises(ValueError, match="an entry is not an image with number, and with question or text"):
        CountBench(annotations=tmp_path / "c.json")


# --- OCRBench and DocVQA --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (b'{"number": "three", "image": "a.png", "text": "x"}', "row 0: number is 'three'; write a whole number"),
        (b'{"number": NaN, "image": "a.png", "text": "x"}', "row 0: number is nan; write a whole number"),
        (b'\n{"number": 3,', "line 2: not valid JSON"),
    ],
)
def test_countbench_names_the_file_and_the_row(entry, said, tmp_path):
    write(tmp_path, {"a.jsonl": entry})
    with pytest.raises(ValueError, match=rf"a\.jsonl: {said}"):
        CountBench(annotations=tmp_path / "a.jsonl")


def ocr(dataset: str, image: str, question: str, answers) -> dict:
    return {"dataset_name": dataset, "type": "x", "image_path": image, "question": question, "answers": answers}


def test_ocrbench_joins_the_questions_of_an_image(tmp_path):
    items = [
        ocr("IIIT5K", "IIIT5K/1.png", "what is written in the image?", ["CENTRE"]),
        ocr("docVQA", "doc/2.png", "what is\nthe date? ", ["1/8/93 ", "", "8 Jan"]),
        ocr("HME100k", "hme/3.png", "formula?", "\\frac { 1 }"), ocr("docVQA", "doc/2.png", "who?", [7]),
    ]  # fmt: skip
    images = {"IIIT5K/1.png": picture(10), "doc/2.png": picture(20), "hme/3.png": picture(30)}
    write(tmp_path, {"OCRBench.json": items})
    write(tmp_path / "OCRBench_Images", images)
    source = DATASETS.build({"type": "OCRBench", "annotations": str(tmp_path / "OCRBench.json")})
    assert [red(source[i]) for i in range(len(source))] == [10, 20, 30]
    assert asked(source, 0) == (Question("ocrbench", "what is written in the image?", "CENTRE"),)
    assert asked(source, 1) == (
        Question("ocrbench", "what is\nthe date?", "1/8/93", strings=("8 Jan",)), Question("ocrbench", "who?", "7"),
    )  # fmt: skip
    assert asked(source, 2) == (Question("ocrbench_formula", "formula?", "\\frac { 1 }"),)
    assert "OCRBench, 4 questions; 3 images" in source.describe()
    (tmp_path / "OCRBench_Images").rename(tmp_path / "moved")
    assert len(OCRBench(annotations=tmp_path / "OCRBench.json", image_root=tmp_path / "moved")) == 3


def test_ocrbench_refuses_other_files(tmp_path):
    write(tmp_path, {"a.json": {}, "b.json": [{"dataset": "x"}], "c.json": [ocr("x", "1.png", "who?", [" "])]})
    with pytest.raises(ValueError, match="is no file of OCRBench: it must hold a list of questions"):
        OCRBench(annotations=tmp_path / "a.json")
    with pytest.raises(ValueError, match="an entry is not a question with dataset_name, image_path, question and answers"):
        OCRBench(annotations=tmp_path / "b.json")
    with pytest.raises(ValueError, match=r"the ocrbench question 'who\?' has no answer"):
        OCRBench(annotations=tmp_path / "c.json")


def document(number: int, image: str, **more: object) -> dict:
    return {
        "questionId": number, "question": f"what is {number}?", "question_types": ["form"], "image": image, "docId": 1,
        "ucsf_document_id": "x", "ucsf_document_page_no": "1", "data_split": "val", **more,
    }  # fmt: skip


def test_docvqa_joins_the_questions_of_a_page(tmp_path):
    data = [
        document(1, "documents/a_1.png", answers=["ITC Limited", "itc limited"]), document(2, "documents/b_1.png", answers=["5"]),
        document(3, "documents/a_1.png", answers=["0.28"]), document(4, "documents/gone_1.png", answers=["x"]),
    ]  # fmt: skip
    content = {"dataset_name": "SP-DocVQA", "dataset_version": "1.0", "dataset_split": "val", "data": data}
    write(tmp_path, {"val_v1.0_withQT.json": content, "documents/a_1.png": picture(10), "documents/b_1.png": picture(20)})
    source = DATASETS.build({"type": "DocVQA", "annotations": str(tmp_path / "val_v1.0_withQT.json")})
    assert [(source[i].id, red(source[i])) for i in range(len(source))] == [("documents/a_1.png", 10), ("documents/b_1.png", 20)]
    assert asked(source, 0) == (
        Question("docvqa", "what is 1?", "ITC Limited", strings=("itc limited",)), Question("docvqa", "what is 3?", "0.28"),
    )  # fmt: skip
    assert "DocVQA val, 4 questions; 2 images; INCOMPLETE: 1 of 3 images left out" in source.describe()


@pytest.mark.parametrize(
    ("data", "said"),
    [([{"question": "q", "image": 5, "answers": ["a"]}], "image is 5, no path"), ([], "a.json holds no entries; fetch it again")],
)
def test_docvqa_names_what_is_none(data, said, tmp_path):
    write(tmp_path, {"a.json": {"data": data}})
    with pytest.raises(ValueError, match=said):
        DocVQA(annotations=tmp_path / "a.json")


def test_docvqa_refuses_other_files(tmp_path):
    write(tmp_path, {"a.json": [], "b.json": {"data": [document(1, "a.png")]}, "c.json": {"data": [{"answers": ["x"]}]}})
    with pytest.raises(ValueError, match="is no file of DocVQA: looked for 'data', a list of questions"):
        DocVQA(annotations=tmp_path / "a.json")
    with pytest.raises(ValueError, match="holds no answers, like DocVQA's test split; give that of val"):
        DocVQA(annotations=tmp_path / "b.json")
    with pytest.raises(ValueError, match="an entry is not a question with question, image and answers"):
        DocVQA(annotations=tmp_path / "c.json")


# --- Ids and values of other types ------------------------------------------------------------------------------------


def coco(root: Path, *annotations: dict, images: list | None = None, categories: list | None = None) -> CocoRegions:
    images = images or [{"id": 1, "file_name": "1.png", "width": 40, "height": 20}]
    content = {"images": images, "annotations": list(annotations), "categories": categories or [{"id": 1, "name": "x"}]}
    write(root, {"instances.json": content, "1.png": picture(), "2.png": picture()})
    return CocoRegions(annotations=root / "instances.json", image_root=root)


def test_ids_agree_whatever_their_type_and_odd_categories_are_left_out(tmp_path):
    categories = [
        {"id": "b", "name": "named"}, {"id": 10, "name": "ten"}, {"id": 2.0, "name": "two"}, {"id": 2, "name": "other"},
        {"id": [3], "name": "y"}, {"id": 4, "name": None}, {},
    ]  # fmt: skip
    told = [{"image_id": 1.0, "category_id": c, "bbox": [4, 2, 8, 4], "iscrowd": "0"} for c in ("2", 10.0, "b", 4)]
    crowd = {"image_id": 1, "category_id": 2, "bbox": [4, 2, 8, 4], "iscrowd": "1"}
    source = coco(tmp_path, *told, crowd, categories=categories)
    assert source.names == ("two", "ten", "named")
    assert [region.class_id for region in source[0].regions] == [0, 1, 2]
    assert source.skipped.listed == [
        "instances.json: category 3: category 2 was called 'two' before",
        "instances.json: category 4: category [3] is called 'y'",
        "instances.json: category 5: category 4 is called None",
        "instances.json: category 6: an entry is not a category with id and name: it has no 'id'",
        "instances.json: annotation 3: its category 4 is not in the file",
    ]


def test_an_id_of_several_images_or_objects_names_none(tmp_path):
    images = [{"id": i, "file_name": f"{n}.png", "width": 40, "height": 20} for i, n in ((1, 1), (2, 1), ("2", 2), (1, 1))]
    told = [{"id": i, "image_id": i, "category_id": 1, "bbox": [4, 2, 8, 4]} for i in (1, 2)]
    source = coco(tmp_path, *told, images=images)
    assert source.skipped.listed == ["instances.json: annotation 1: instances.json has several images of the id 2"]
    assert len(source) == 1
    twice = {"id": 1.0, "image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 4]}
    coco(tmp_path, told[0], twice, {"id": 3, "image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 4]})
    asked_twice = [{**reference(0, "val", "x", image=1), "ann_id": number} for number in (1, 3.0)]
    source = RefCOCO(data_root=write(tmp_path, {"refs(unc).p": pickle.dumps(asked_twice, 2)}))
    assert asked(source, 0) == (where("x", 0.0, 0.0, 0.2, 0.2),)
    assert source.skipped.listed == ["refs(unc).p: reference 0: instances.json has several annotations of the id 1"]


def test_a_label_map_of_huge_numbers_is_refused(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.full((20, 40), 40_000, np.uint16)).save(file, "PNG")
    write(tmp_path, {"images/v/a.png": picture(), "annotations/v/a.png": file.getvalue()})
    with pytest.raises(ValueError, match="its label map has the class 40000; classes are numbers up to 32,767"):
        LabelMaps(root=tmp_path, split="v")


def test_answers_that_are_no_texts_are_left_out_and_named(tmp_path):
    told = (["a"], 0, [0, 1.5], False, [["x"]], {"a": 1}, [None, ""])
    write(
        tmp_path, {"d.json": {"data": [5, *({"question": "q", "image": "1.png", "answers": a} for a in told)]}, "1.png": picture()}
    )
    source = DocVQA(annotations=tmp_path / "d.json")
    assert [(question.answer, question.strings) for question in asked(source, 0)] == [("a", ()), ("0", ()), ("0", ("1.5",))]
    assert source.skipped.listed[1:] == [
        "d.json: question 4: the docvqa question 'q' has the answer False, which is no text",
        "d.json: question 5: the docvqa question 'q' has the answer ['x'], which is no text",
        "d.json: question 6: the docvqa question 'q' has the answer {'a': 1}, which is no text",
        "d.json: question 7: the docvqa question 'q' has no answer",
    ]


def test_odd_numbers_and_images_of_countbench_are_left_out_and_named(tmp_path):
    rows = [{"number": n, "image": "1.png", "text": "three dogs"} for n in (3, "3", 3.0, 3.7, True, None)]
    rows += [{"number": 3, "image": {"bytes": "x"}, "text": "three dogs"}]
    write(tmp_path, {"c.json": rows, "1.png": picture(), "q.json": [{}], "one.json": rows[:1]})
    source = CountBench(annotations=tmp_path / "c.json")
    assert [question.answer for i in range(len(source)) for question in asked(source, i)] == ["3", "3", "3"]
    assert source.skipped.listed == [
        *(f"c.json: row {row}: number is {n}; write a whole number" for row, n in ((3, 3.7), (4, True), (5, None))),
        "c.json: row 6: the bytes of its image are str; give the path of a file",
    ]
    with pytest.raises(ValueError, match=r"q\.json' must hold a list of objects with a 'question'"):
        CountBench(annotations=tmp_path / "one.json", questions=tmp_path / "q.json")


def test_label_maps_without_an_image_are_named(tmp_path):
    file = io.BytesIO()
    Image.new("L", (40, 20), 3).save(file, "PNG")
    write(tmp_path, {"images/v/a.jpg": picture()} | {f"annotations/v/{name}.png": file.getvalue() for name in "ab"})
    source = LabelMaps(root=tmp_path, split="v")
    assert source.skipped.listed == [f"b.png: its image is not in {tmp_path}/images/v"]
    assert "INCOMPLETE: 1 of 2 images left out" in source.describe()


def test_names_that_no_file_can_have_are_missing_files(tmp_path):
    names = ("x" * 5000, "d/" + "x" * 5000, "d/\0", "1.png")
    rows = [{"number": 3, "image": name, "text": "three"} for name in names]
    write(tmp_path, {"c.json": rows, "d/a": b"", "1.png": picture()})
    assert CountBench(annotations=tmp_path / "c.json").describe().endswith("1 images; INCOMPLETE: 3 of 4 images left out")
    images = [{"id": i, "file_name": name, "width": 40, "height": 20} for i, name in enumerate(names)]
    source = coco(tmp_path, *({"image_id": i, "category_id": 1, "bbox": [4, 2, 8, 4]} for i in range(4)), images=images)
    assert source.describe().endswith("1 images; INCOMPLETE: 3 of 4 images left out")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (None, "it is null, not an object with 'a'"),
        ([1], "it is a list, [1], not an object with 'a'"),
        ({}, "it has no 'a'"),
        ({"a": None}, "it has no 'a'"),
        ({"a": True}, "its 'a' is true or false, True, not a text"),
        ({"a": 7}, "its 'a' is a number, 7, not a text"),
        ({"a": 10**5000}, "its 'a' is a number, too large to show, not a text"),
        ({"a": ["x" * 100]}, f"its 'a' is a list, ['{'x' * 58}..., not a text"),
    ],
)
def test_a_field_of_another_type_says_what_is_there(entry, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        field(entry, "a", str)


def test_a_field_may_have_a_default_and_ids_agree_as_numbers_and_texts():
    assert field({"a": None}, "a", str, "b") == field({}, "a", str, "b") == "b"
    assert [identity({"a": value}, "a") for value in (7, 7.0, "7")] == ["7"] * 3
    for value in (True, None, [7]):
        with pytest.raises(ValueError, match=r"its 'a' is .*, not a number or a text|its 'a' is null"):
            identity({"a": value}, "a")


def test_a_parquet_file_that_is_torn_is_named(tmp_path, monkeypatch):
    def torn(path: Path) -> None:
        raise OSError("Parquet magic bytes not found in footer")

    reader = ModuleType("parquet")
    reader.read_table = torn
    monkeypatch.setitem(sys.modules, "pyarrow", ModuleType("pyarrow"))
    monkeypatch.setattr(sys.modules["pyarrow"], "parquet", reader, raising=False)
    write(tmp_path, {"c.parquet": b"PAR1"})
    with pytest.raises(ValueError, match=r"c\.parquet is no Parquet file that pyarrow can read \(Parquet magic bytes"):
        CountBench(annotations=tmp_path / "c.parquet")
