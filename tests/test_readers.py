"""Readers of people's own data: exact records, named faults, disjoint splits, copies for workers."""

import gzip
import io
import json
import pickle
import random
import re
import tarfile
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finevit.boxes import fault_of_box
from finevit.contracts import BadSample, Record, Region
from finevit.datasets.decoding.images import decode
from finevit.datasets.readers import ImageFolder, JsonLines, TarShards, open_source
from finevit.datasets.readers.files import FileSource, Skipped
from finevit.datasets.readers.splits import Strings, select
from finevit.registry import DATASETS
from finevit.tasks.task import Material, drafts


def picture(value: int = 0, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (value, 0, 0)).save(file, format)
    return file.getvalue()


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return root


def write_tar(path: Path, members: dict[str, bytes | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            data = data if isinstance(data, bytes) else data.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def red(record) -> int:
    return int(decode(record.image, name=record.id)[0, 0, 0])


def ids(source) -> list[str]:
    return [source[index].id for index in range(len(source))]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "finevit" / "tars"


# The folder of images


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(
        tmp_path / "folder",
        {
            "b.PNG": picture(1),
            "a/z.jpeg": picture(2, "JPEG"),
            "a/z.txt": "  A line,\r\n\n and\tanother. \n",
            "a/B.png": picture(3),
            "b.TXT": b"\xef\xbb\xbfcaf\xe9 caf\xc3\xa9",
            "a/B.txt": " \n",
            ".hidden.png": picture(9),
            ".thumbs/c.png": picture(9),
            "notes.txt": "no image has this stem",
            "a/movie.mp4": b"",
        },
    )


def test_folder_lists_images_in_order_with_their_captions(folder):
    source = ImageFolder(data_root=folder, split="all")
    assert ids(source) == ["a/B.png", "a/z.jpeg", "b.PNG"]
    assert [red(source[i]) for i in (0, 2)] == [3, 1]
    assert [source[i].captions for i in range(3)] == [{"alt": ""}, {"alt": "A line, and another."}, {"alt": ""}]
    assert source[2].unread["alt"].startswith("b.TXT is not UTF-8")
    assert source.describe().startswith(f"ImageFolder {folder}: 3 images, 3 with a caption; split 'all' shows 3")


def test_texts_without_an_image_are_left_out_and_named(tmp_path):
    """Each counts. In a folder without images they are something else: labels, for instance."""
    files = {"a/0.png": picture(), "a/0.txt": "x", "a/2.txt": "lost", "a/1.TXT": "lost too", "a/n\n.txt": "", "labels/0.txt": "0 1"}
    source = ImageFolder(data_root=write(tmp_path, files), split="all")
    assert ids(source) == ["a/0.png"]
    told = [text.partition(" has no image; ")[0] for text in source.skipped.listed]
    assert told == ["a/1.TXT", "a/2.txt", r"a/n\n.txt"]
    assert (source.skipped.count, source.skipped.seen) == (3, 4)


def test_every_sample_of_a_tar_without_an_image_counts_and_is_named(tmp_path):
    members = {"0.jpg": picture(0, "JPEG"), "1.txt": "lost", "1.json": "{}", "b/2.txt": "lost"}
    source = TarShards(data_root=write_tar(tmp_path / "w.tar", members), split="all")
    assert source.skipped.listed == ["w.tar: 1 has no whole image", "w.tar: b/2 has no whole image"]
    assert (source.skipped.count, source.skipped.seen) == (2, 3)


def test_folder_follows_links_but_no_circles(folder, tmp_path):
    (folder / "again").symlink_to(folder)
    (folder / "other").symlink_to(write(tmp_path / "elsewhere", {"x.png": picture()}))
    assert ids(ImageFolder(data_root=folder, split="all")) == ["a/B.png", "a/z.jpeg", "b.PNG", "other/x.png"]


def test_folder_image_that_vanishes_is_a_bad_sample(folder):
    source = ImageFolder(data_root=folder, split="all")
    (folder / "b.PNG").unlink()
    with pytest.raises(BadSample, match=r"b\.PNG: cannot read .*b\.PNG \(No such file or directory\); restore it"):
        source[2]


def test_folder_with_a_name_that_is_not_utf8(tmp_path):
    path = bytes(write(tmp_path / "f", {"a.png": picture(1), "b.png": picture(2)})) + b"/\xff.png"
    with open(path, "wb") as file:
        file.write(picture(5))
    source = pickle.loads(pickle.dumps(ImageFolder(data_root=tmp_path / "f", split="all")))
    assert [red(source[i]) for i in range(3)] == [1, 2, 5]


def test_folder_without_images_says_what_it_holds(tmp_path):
    write(tmp_path / "f", {"a.tar.gz": b"", "b.pdf": b"", "c/d.pdf": b""})
    with pytest.raises(ValueError, match=r"holds no images \(\.jpg, .*\): found 2 \.pdf, 1 \.gz"):
        open_source(data_root=tmp_path / "f")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="it holds no files at all"):
        open_source(data_root=tmp_path / "empty")


# JSON lines


def lines(*entries: object) -> str:
    return "\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries)


def test_json_lines_captions_regions_and_ids(tmp_path):
    box = [0.25, 0.5, 0.75, 1.004]
    root = write(
        tmp_path / "d",
        {
            "one.jsonl": "\ufeff"
            + lines(
                {"image": "i/0.png", "caption": " One\n caption "},
                "",
                {"id": 7, "file_name": "i/1.png", "captions": ["a", "b", "a", "", None], "text": ["c", "b"]},
                {"path": "i/2.png", "captions": {"long": "L", "short": ["s", "t"]}, "caption": None},
            ),
            "two.JSONL": lines({"image": "i/3.png", "regions": [{"box": box, "phrase": "cat"}, {"box": box, "text": "EXIT"}]})
            + "\n",
            **{f"i/{n}.png": picture(n) for n in range(4)},
        },
    )
    source = JsonLines(data_root=root, split="all")
    assert ids(source) == ["i/0.png", "7", "i/2.png", "i/3.png"]
    assert [red(source[i]) for i in range(4)] == [0, 1, 2, 3]
    assert source[0].captions == {"alt": "One caption"}
    assert source[1].captions == {"alt": "a", "alt-2": "b", "alt-3": "a", "alt-4": "", "alt-5": "c"}
    assert source[2].captions == {"long": "L", "short": "s", "short-2": "t"}
    clipped = (0.25, 0.5, 0.75, 1.0)
    assert source[3].regions == (Region(clipped, phrase="cat"), Region(clipped, kind="text_line", text="EXIT"))
    assert source.describe() == f"JsonLines {root}: 4 images, 3 with a caption; split 'all' shows 4"


def test_json_lines_faults_are_counted_and_named(tmp_path):
    entries = (
        {"image": "ok.png"},
        '{"image": "broken',
        ["ok.png"],
        {"caption": "no image"},
        {"image": "ok.png", "caption": "again"},
        {"url": "https://example.org/x.jpg"},
        {"image": "https://example.org/x.jpg"},
        b"\xff\xfe\xfa".decode("latin-1"),
        {"image": "ok.png", "id": "second"},
    )
    root = write(tmp_path / "d", {"x.jsonl": lines(*entries), "ok.png": picture()})
    source = JsonLines(data_root=root / "x.jsonl", split="all")
    assert ids(source) == ["ok.png", "second"]
    assert source.skipped.count == 7
    reasons = [
        "x.jsonl line 2: not valid JSON (",
        "x.jsonl line 3: must be a JSON object, not list",
        "x.jsonl line 4: must name its image as a path in 'image' or 'file_name' or 'path'; its fields are ['caption']",
        "x.jsonl line 5: id 'ok.png' was in x.jsonl line 1 already; give ids, or one entry several captions",
        "x.jsonl line 6: has only a 'url'; download the images first",
    ]
    for found, wanted in zip(source.skipped.listed[:5], reasons, strict=True):
        assert found.startswith(wanted)
    assert str(source.skipped).endswith("; and 2 more")
    assert source.describe().endswith("split 'all' shows 2; 7 unusable entries left out")


def test_json_lines_bad_samples_name_file_and_line(tmp_path):
    bad = [
        {"image": "gone.png"},
        {"image": "ok.png", "id": "e", "caption": 5},
    ]
    root = write(tmp_path / "d", {"x.jsonl": lines({"image": "ok.png"}, *bad), "ok.png": picture()})
    source = JsonLines(data_root=root, split="all")
    messages = []
    for index in (1, 2):
        with pytest.raises(BadSample) as caught:
            source[index]
        messages.append(str(caught.value))
    assert messages[0].startswith("x.jsonl line 2 (gone.png): cannot read ")
    said = "'caption' must hold text, not int 5; write a string, a list of strings, or an object of captioners with these"
    assert messages[1] == f"x.jsonl line 3: {said}; null where there is none"


GOOD = {"box": [0.1, 0.1, 0.5, 0.5], "phrase": "dog"}
WANTED = "must have 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1; divide pixels by the image's width and height, or give the entry these"


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ({"box": [3, 4, 50, 60]}, f"box [3, 4, 50, 60] {WANTED}"),
        ({"box": [0.5, 0, 0.5, 1]}, f"box [0.5, 0, 0.5, 1] {WANTED}"),
        ({"box": [0.5, 0.5, 0.2, 0.2]}, f"box [0.5, 0.5, 0.2, 0.2] {WANTED}"),
        ({"box": [-0.03, 0, 0.5, 1]}, f"box [-0.03, 0, 0.5, 1] {WANTED}"),
        ({"box": [float("nan"), 0, 0.5, 1]}, f"box [nan, 0, 0.5, 1] {WANTED}"),
        ({"phrase": "cat"}, "box None must be [x1, y1, x2, y2]"),
        ({"box": "[0.1, 0.1, 0.5, 0.5]"}, "box '[0.1, 0.1, 0.5, 0.5]' must be [x1, y1, x2, y2]"),
        ({"box": {"x1": 0}}, "box {'x1': 0} must be [x1, y1, x2, y2]"),
        ({"box": [0.1] * 8}, "box [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1] must be [x1, y1, x2, y2]"),
        ({"bbox": [1, 2, 3, 4]}, "has 'bbox', which may mean corners, or a width and height; write 'box': [x1, y1, x2, y2]"),
        ({**GOOD, "phrase": ["a", "b"]}, "'phrase' must be a text, not list ['a', 'b']"),
        ({**GOOD, "text": True}, "'text' must be a text, not bool True"),
        ({**GOOD, "class_id": "cat"}, "class_id must be a whole number, not 'cat'"),
        ("dog", "must be an object with a box, not str 'dog'"),
    ],
)
def test_one_impossible_region_costs_neither_image_nor_caption(tmp_path, region, said):
    entry = {"image": "ok.png", "caption": "a", "regions": [GOOD, region, {**GOOD, "text": "x"}]}
    source = JsonLines(data_root=write(tmp_path, {"x.jsonl": lines(entry), "ok.png": picture()}) / "x.jsonl", split="all")
    record = source[0]
    assert record.captions == {"alt": "a"}
    assert [(part.phrase, part.text) for part in record.regions] == [("dog", ""), ("dog", "x")]
    (unplaced,) = record.unplaced
    assert fault_of_box(unplaced.box)
    assert source.describe().endswith(f"; not read: 1 impossible regions (x.jsonl line 1: region 1: {said})")
    assert source.skipped.count == 0


def test_an_impossible_region_leaves_no_question_that_it_might_answer(tmp_path):
    """It is counted by the questions' own counter, and no other dog is asked for as if it were the only one."""
    regions = [GOOD, {"box": [0.2, 0.2, 0.2, 0.4], "phrase": "dog"}, {"box": [0.5, 0.5, 1, 1], "phrase": "cat"}]
    write(tmp_path, {"x.jsonl": lines({"image": "ok.png", "regions": regions}), "ok.png": picture()})
    source = {"type": "JsonLines", "data_root": str(tmp_path / "x.jsonl"), "split": "all"}
    ask = {"type": "finevit.AskQuestions", "draw": False, "task_weights": {"text2box": 1.0}}
    sample = DATASETS.build({"type": "NativeImages", "source": source, "transforms": [ask]})[0]
    assert [question.text for question in sample["questions"]] == ["Where is cat?"]
    assert sample["counts"]["impossible boxes"] == 1
    assert sample["counts"]["text2box of an impossible box"] == 1


def test_regions_that_are_no_list_are_named_and_none_are_none(tmp_path):
    entries = [{"image": "ok.png", "id": i, "regions": value} for i, value in enumerate((None, [], {}, "", float("nan")))]
    root = write(tmp_path / "d", {"x.jsonl": lines(*entries), "ok.png": picture()})
    source = JsonLines(data_root=root, split="all")
    assert [source[i].regions + source[i].unplaced for i in range(5)] == [()] * 5
    assert "not read" not in source.describe()
    write(root, {"x.jsonl": lines({"image": "ok.png", "regions": {"box": [0, 0, 1, 1]}})})
    said = JsonLines(data_root=root, split="all").describe()
    assert said.endswith("; not read: 1 impossible regions (x.jsonl line 1: 'regions' must be a list of objects, not dict)")


def test_boxes_under_other_names_are_told(tmp_path):
    entries = [{"image": "ok.png", "id": i, "objects": {"bbox": [[0, 0, 1, 1]]}, "bbox": [[1, 2, 3, 4], None][i]} for i in range(2)]
    source = JsonLines(data_root=write(tmp_path, {"x.jsonl": lines(*entries), "ok.png": picture()}) / "x.jsonl", split="all")
    assert source.describe().endswith("; not read: 'objects' of 2 entries; 'bbox' of 1 entries")


def test_texts_of_regions_may_be_numbers_and_boxes_pass_the_edge_a_little(tmp_path):
    regions = [
        {"box": [0, 0, 1, 1], "text": 0},
        {"box": [-0.02, -0.01, 1.02, 0.5], "text": 1984},
        {"box": ["0", "0", "1", "1"], "phrase": 7},
        {"box": [0, 0, 1, 1], "text": None, "phrase": float("nan"), "class_id": 3.0},
        {"box": [0, 0, 1, 1], "text": " a\u2028b "},
    ]
    write(tmp_path, {"x.jsonl": lines({"image": "ok.png", "regions": regions}), "ok.png": picture()})
    found = JsonLines(data_root=tmp_path / "x.jsonl", split="all")[0].regions
    assert [(part.text, part.phrase, part.kind) for part in found] == [
        ("0", "", "text_line"), ("1984", "", "text_line"), ("", "7", "object"), ("", "", "object"), ("a b", "", "text_line"),
    ]  # fmt: skip
    assert (found[1].box, found[3].class_id) == ((0.0, 0.0, 1.0, 0.5), 3)


def oriented(orientation: int) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.new("RGB", (100, 60)).save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("tar", [False, True])
@pytest.mark.parametrize(
    ("orientation", "width", "height", "wanted"),
    [
        (1, 100, 60, (0.1, 0.1, 0.4, 0.5)),
        (1, 200.0, 120, (0.05, 0.05, 0.2, 0.25)),
        (6, 100, 60, (0.5, 0.1, 0.9, 0.4)),
        (6, 60, 100, (1 / 6, 0.06, 2 / 3, 0.3)),
        (3, 100, 60, None),
        (1, 60, 100, None),
        (1, 30, 60, None),
        (1, None, 60, None),
    ],
)
def test_boxes_in_pixels_of_a_size_lie_as_their_photograph_does(tmp_path, tar, orientation, width, height, wanted):
    entry = {"image": "a.jpg", "width": width, "height": height, "regions": [{"box": [10, 6, 40, 30], "phrase": "dog"}]}
    entry["regions"].append({"box": [0, 0, 1, 1], "phrase": "all"})
    if tar:
        write_tar(tmp_path / "d" / "w.tar", {"a.jpg": oriented(orientation), "a.json": json.dumps(entry)})
    else:
        write(tmp_path / "d", {"x.jsonl": lines(entry), "a.jpg": oriented(orientation)})
    record = open_source(data_root=tmp_path / "d", split="all")[0]
    placed = {part.phrase: part.box for part in record.regions}
    assert placed.pop("all") == (0, 0, 1, 1)
    assert [part.phrase for part in record.unplaced] == ([] if wanted else ["dog"])
    assert placed == ({"dog": pytest.approx(wanted)} if wanted else {})


@pytest.mark.parametrize("field", ["conversations", "messages"])
def test_dialogues_are_refused_by_name(tmp_path, field):
    turns = [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": "There."}]
    entry = {"image": "ok.png", "caption": "a", field: turns}
    root = write(tmp_path / "d", {"llava.jsonl": lines({"image": "ok.png", field: []}, {**entry, "id": 1}), "ok.png": picture()})
    with pytest.raises(
        ValueError, match=rf"llava\.jsonl: line 2 holds '{field}', and questions and answers are not read yet; write"
    ):
        open_source(data_root=root, split="all")
    write_tar(tmp_path / "w.tar", {"a.png": picture(), "a.json": json.dumps(entry), "b.png": picture(), "b.json": "{}"})
    with pytest.raises(BadSample, match=rf"w/a: its \.json is unusable: holds '{field}', and questions"):
        TarShards(data_root=tmp_path / "w.tar", split="all")[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_lines_of_any_unicode(tmp_path, encoding):
    texts = ["a", "\u0a0a\u0a00\u010a Gurmukhi", "caf\xe9 \u65e5\u672c\u8a9e", "\U0001f600"]
    entries = [json.dumps({"image": f"{i}.png", "caption": text}, ensure_ascii=False) for i, text in enumerate(texts)]
    text = "\r\n".join([*entries[:2], "", *entries[2:], ""])
    write(tmp_path, {"x.jsonl": text.encode(encoding), **{f"{i}.png": picture(i) for i in range(4)}})
    source = JsonLines(data_root=tmp_path / "x.jsonl", split="all")
    assert [(red(source[i]), source[i].captions["alt"]) for i in range(4)] == list(enumerate(texts))
    assert source.skipped.count == 0
    assert source[2].facts["origin"] == "x.jsonl line 4"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{"image": "café.png"}'.encode("latin-1"), "x.jsonl line 1: not UTF-8 (invalid continuation byte); save it as UTF-8"),
        (gzip.compress(b'{"image": "a.png"}', mtime=0), "x.jsonl is compressed; decompress it (gunzip)"),
        (b'[{"image": "a.png"}]', "x.jsonl is one JSON document; write one object a line (jq -c '.[]' FILE"),
        (b'{\n "image": "a.png"\n}', "x.jsonl is one JSON document; write one object a line"),
        (b'{"image": ["a.png", "b.png"]}', "x.jsonl line 1: names a list of 2 images; write one entry for each image"),
        (
            b'{"filename": "a.png"}',
            "must name its image as a path in 'image' or 'file_name' or 'path'; its fields are ['filename']",
        ),
    ],
)
def test_files_that_are_no_json_lines_are_refused_with_the_remedy(tmp_path, data, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        JsonLines(data_root=write(tmp_path, {"x.jsonl": data}) / "x.jsonl")


def test_paths_of_windows_lead_to_the_image(tmp_path):
    entries = [{"image": "sub\\0.png"}, {"image": "back\\slash.png"}]
    root = write(tmp_path, {"x.jsonl": lines(*entries), "sub/0.png": picture(3), "back\\slash.png": picture(4)})
    source = JsonLines(data_root=root / "x.jsonl", split="all")
    assert [red(source[i]) for i in range(2)] == [3, 4]
    assert source.size(0) == (3, 4)


def test_json_lines_image_root(tmp_path):
    write(
        tmp_path,
        {
            "data/x.jsonl": lines({"image": "a.png"}, {"image": "b.png"}),
            "pics/a.png": picture(4),
            "pics/b.png": picture(),
        },
    )
    assert red(JsonLines(data_root=tmp_path / "data", image_root=tmp_path / "pics", split="all")[0]) == 4
    with pytest.raises(ValueError, match=r"none of its first 2 samples can be read; x.jsonl line 1 \(a.png\): cannot read"):
        JsonLines(data_root=tmp_path / "data", split="all")
    with pytest.raises(ValueError, match=r"image_root='.*pisc' does not exist \(did you mean 'pics'\?\)"):
        JsonLines(data_root=tmp_path / "data", image_root=tmp_path / "pisc")


def test_json_lines_without_a_usable_entry(tmp_path):
    write(tmp_path, {"x.jsonl": "[]\n[]\n", "y.jsonl": "\n"})
    with pytest.raises(
        ValueError, match=r"holds no usable entries: x.jsonl line 1: must be a JSON object, not list; x.jsonl line 2"
    ):
        open_source(data_root=tmp_path / "x.jsonl")
    with pytest.raises(ValueError, match="holds no usable entries: it is empty"):
        open_source(data_root=tmp_path / "y.jsonl")


def test_entries_about_one_image_share_a_split(tmp_path):
    entries = [{"image": f"{n % 40}.png", "id": n} for n in range(200)]
    root = write(tmp_path / "d", {"x.jsonl": lines(*entries), **{f"{n}.png": picture(n) for n in range(40)}})
    seen = [{red(source[i]) for i in range(len(source))} for source in both(JsonLines, root, 0.3)]
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] == set(range(40))


def test_the_examples_of_the_documentation_are_read_as_it_says(tmp_path):
    text = (Path(__file__).parent.parent / "docs/data.md").read_text()
    (entries,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (told,) = re.findall(r"000000000\.json {4}(.*)", text)
    file = io.BytesIO()
    Image.new("RGB", (640, 480)).save(file, "PNG")
    write(tmp_path / "d", {"x.jsonl": entries, **{f"a/{i}.jpg": file.getvalue() for i in range(1, 5)}})
    source = open_source(data_root=tmp_path / "d", split="all")
    assert ids(source) == ["a/1.jpg", "2", "a/3.jpg", "a/4.jpg"]
    assert [list(source[i].captions) for i in range(4)] == [["alt"], ["long", "short", "short-2"], ["alt"], []]
    dog = Region((0.1, 0.2, 0.5, 0.9), phrase="brown dog")
    assert source[2].regions == (dog,)
    assert source[3].regions == (Region((0.1, 0.2, 0.5, 0.9), kind="text_line", text="EXIT"),)
    assert source.skipped.count == 0
    write_tar(tmp_path / "00000.tar", {"000000000.jpg": picture(), "000000000.txt": "A dog on a sofa.", "000000000.json": told})
    record = open_source(data_root=tmp_path / "00000.tar", split="all")[0]
    assert record.captions == {"alt": "A dog on a sofa.", "long": "A brown dog ..."}
    assert record.regions == (dog,)


# Tars


def shard(first: int, count: int) -> dict[str, bytes | str]:
    """What img2dataset writes."""
    members: dict[str, bytes | str] = {}
    for n in range(first, first + count):
        caption = f"caption {n}"
        members[f"{n:09d}.jpg"] = picture(n, "JPEG")
        members[f"{n:09d}.json"] = json.dumps({"caption": caption, "url": "u", "status": "success", "width": 4, "sha256": "0"})
        members[f"{n:09d}.txt"] = caption
    return members


@pytest.fixture
def shards(tmp_path) -> Path:
    for number in range(3):
        write_tar(tmp_path / "shards" / f"{number:05d}.tar", shard(10 * number, 5))
    return write(tmp_path / "shards", {"00000_stats.json": "{}", "00000.parquet": b""})


def test_img2dataset_tars(shards):
    source = TarShards(data_root=shards, split="all")
    assert ids(source) == [f"{s:05d}/{10 * s + n:09d}" for s in range(3) for n in range(5)]
    assert source[11].captions == {"alt": "caption 21"}
    assert source[11].image == picture(21, "JPEG")
    assert source.describe() == f"TarShards {shards}: 15 images, 15 with a caption; split 'all' shows 15"


def test_webdataset_members(tmp_path):
    members = {
        "./a/x.PNG": picture(1),
        "./a/x.json": lines({"captions": {"long": "L"}, "caption": float("nan"), "regions": [{"box": [0, 0, 1, 1]}]}),
        "a/x.cls": "3",
        "b.seg.png": picture(9),
        "b.webp": picture(2),
        "._b.webp": b"AppleDouble",
        "c.txt": "an image is missing",
        "d.jpg": b"",
        "b.png": picture(9),
        "e.jpg": picture(3),
        "e.json": "{",
    }
    source = TarShards(data_root=write_tar(tmp_path / "w.tar", members), split="all")
    assert source[0].captions == {"long": "L"}
    assert source[0].regions == (Region((0, 0, 1, 1)),)
    assert [red(source[i]) for i in (0, 1)] == [1, 2]
    assert source[2].id == "w/d"
    with pytest.raises(BadSample, match=r"w/d: the file is empty \(0 bytes\)"):
        red(source[2])
    with pytest.raises(BadSample, match=r"w/e: its .json is unusable: not valid JSON"):
        source[3]
    assert source.skipped.listed == [
        "w.tar: b.png is one image too many for its sample",
        "w.tar: c has no whole image",
    ]


def start(path: Path, member: str) -> int:
    """Where a member's bytes begin, after its header."""
    with tarfile.open(path) as tar:
        return tar.getmember(member).offset_data


@pytest.mark.parametrize(
    ("member", "offset", "whole"),
    [("000000013.jpg", 40, 3), ("000000013.jpg", -512, 3), ("000000013.jpg", -20, 3), ("000000014.jpg", 0, 4)],
)
def test_truncated_tar_gives_its_whole_samples(shards, member, offset, whole):
    path = shards / "00001.tar"
    path.write_bytes(path.read_bytes()[: start(path, member) + offset])
    source = TarShards(data_root=shards, split="all")
    assert len(source) == 10 + whole
    assert [source[i].captions["alt"] for i in range(5, 5 + whole)] == [f"caption {10 + n}" for n in range(whole)]
    cut = [member.removesuffix(".jpg")] if offset >= 0 else []  # its header is there, and names it
    told = f"00001.tar: damaged, compressed or ends early; {whole} samples are readable, seen without a whole image: {len(cut)}"
    assert source.skipped.listed[0] == f"{told}, what followed is unknown; fetch or decompress it"
    assert source.skipped.listed[1:] == [f"00001.tar: {key} has no whole image" for key in cut]


def test_a_caption_that_was_cut_off_leaves_the_image(shards):
    path = shards / "00001.tar"
    path.write_bytes(path.read_bytes()[: start(path, "000000011.json") + 5])
    source = TarShards(data_root=path, split="all")
    assert [source[i].captions for i in range(len(source))] == [{"alt": "caption 10"}, {}]
    assert source[1].image == picture(11, "JPEG")


def test_tar_cut_between_samples_or_damaged_in_the_middle_is_named(shards):
    path = shards / "00000.tar"
    data, cut, hurt = path.read_bytes(), start(path, "000000002.jpg") - 512, start(path, "000000003.jpg") - 512
    path.write_bytes(data[:cut])
    (shards / "00001.tar").write_bytes(data[:hurt] + b"\xaa" * 512 + data[hurt + 512 :])
    source = TarShards(data_root=shards, split="all")
    assert len(source) == 2 + 3 + 5
    early = "damaged, compressed or ends early"
    assert [text.partition(" samples")[0] for text in source.skipped.listed] == [
        f"00000.tar: {early}; 2",
        f"00001.tar: {early}; 3",
    ]


def test_compressed_or_broken_tars_are_left_out(shards, tmp_path):
    with tarfile.open(shards / "00003.tar", "w:gz"):
        pass
    write(shards, {"00004.tar": b"", "00005.tar": b"hello" * 1000})
    source = TarShards(data_root=shards, split="all")
    assert len(source) == 15
    assert source.skipped.count == 3
    write(tmp_path, {"only/x.tar": b"hello"})
    with pytest.raises(ValueError, match=r"holds no samples with an image: x\.tar: damaged, compressed or ends early; 0 samples"):
        TarShards(data_root=tmp_path / "only")


def test_tar_index_is_cached_until_the_tar_changes(shards, cache, monkeypatch):
    first = ids(TarShards(data_root=shards, split="all"))
    assert len(list(cache.glob("*"))) == 3
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", None)
        assert ids(TarShards(data_root=shards, split="all")) == first
    write_tar(shards / "00002.tar", shard(20, 7))
    assert len(TarShards(data_root=shards, split="all")) == 17


def test_damaged_or_unwritable_cache_does_no_harm(shards, cache):
    TarShards(data_root=shards, split="all")
    for number, file in enumerate(sorted(cache.iterdir())):
        file.write_bytes([b"", b"PK\3\4 nonsense", file.read_bytes()[:300]][number])
    assert len(TarShards(data_root=shards, split="all")) == 15
    for file in cache.iterdir():
        file.unlink()
    cache.rmdir()
    cache.write_text("a file where the folder should be")
    assert len(TarShards(data_root=shards, split="all")) == 15


# One name for all, splits, copies


def both(reader, root: Path, holdout: float) -> tuple:
    return tuple(reader(data_root=root, split=split, holdout=holdout) for split in ("train", "val"))


def test_open_data_picks_the_reader(folder, shards, tmp_path):
    table = write(
        tmp_path / "j",
        {"x.jsonl": lines({"image": "a.png"}, {"image": "b.png"}), "a.png": picture(), "b.png": picture()},
    )
    for root, reader in (
        (folder, ImageFolder),
        (shards, TarShards),
        (shards / "00001.tar", TarShards),
        (table, JsonLines),
    ):
        source = DATASETS.build({"type": "finevit.OpenData", "data_root": str(root), "split": "all"})
        assert type(source) is reader
    assert type(open_source(data_root=table / "x.jsonl")) is JsonLines


def test_open_data_gives_a_file_to_the_reader_of_its_ending(tmp_path, monkeypatch):
    write(tmp_path, {"a.png": picture(), "table.csv": "a.png"})

    class Table(FileSource):
        suffix = ".csv"

        def __init__(self, *, data_root, split, holdout):
            root = Path(data_root + "/..")  # a text, as from a config
            super().__init__(data_root=root, keys=["a"], captioned=0, skipped=Skipped(), split=split, holdout=holdout)

        def record(self, row):
            return Record(id="a", image=picture())

    monkeypatch.setitem(DATASETS.module_dict, "Table", Table)
    assert type(open_source(data_root=tmp_path / "table.csv", split="all")) is Table
    assert type(open_source(data_root=tmp_path, split="all")) is ImageFolder
    monkeypatch.setitem(DATASETS.module_dict, "Other", type("Other", (Table,), {}))
    with pytest.raises(ValueError, match=r"\.csv files are claimed by .*Other and .*Table; name the one you mean"):
        open_source(data_root=tmp_path / "table.csv", split="all")


def test_open_data_errors_name_the_setting_and_the_way_out(folder, shards, tmp_path):
    with pytest.raises(ValueError, match=r"data_root='.*/foldr/a' does not exist \(did you mean 'folder'\?\)"):
        open_source(data_root=tmp_path / "foldr" / "a")
    with pytest.raises(ValueError, match=r"data_root='.*/qqqq' does not exist; .* holds no 'qqqq'"):
        open_source(data_root=tmp_path / "qqqq")
    with pytest.raises(ValueError, match="data_root is empty; give a folder of images"):
        open_source(data_root="")
    with pytest.raises(ValueError, match=r"is a file but neither a .tar nor a .jsonl"):
        open_source(data_root=folder / "b.PNG")
    write(shards, {"x.jsonl": "{}"})
    with pytest.raises(ValueError, match=r"holds both .tar and .jsonl files; give the path of the file you mean"):
        open_source(data_root=shards)
    with pytest.raises(ValueError, match="split='valid' is unknown; choose one of train, val, test, all"):
        open_source(data_root=folder, split="valid")
    for holdout in (-0.1, 1, float("nan")):
        with pytest.raises(ValueError, match=r"holdout=.*: give a share of the records, from 0 to below 1"):
            open_source(data_root=folder, holdout=holdout)
    with pytest.raises(ValueError, match="split='val' is empty with holdout=0 of 3 records; add records or change holdout"):
        open_source(data_root=folder, split="val", holdout=0)


def test_splits_are_disjoint_complete_and_independent_of_order():
    keys = [f"images/{n}.jpg" for n in range(20_000)]
    shuffled = random.Random(0).sample(keys, len(keys))
    parts = {split: select(keys, split=split, holdout=0.02) for split in ("train", "val", "test", "all")}
    assert not set(parts["train"]) & set(parts["val"])
    assert sorted([*parts["train"], *parts["val"]]) == list(parts["all"]) == list(range(20_000))
    assert np.array_equal(parts["val"], parts["test"])
    assert len(parts["val"]) == 407
    held = {keys[i] for i in parts["val"]}
    assert {shuffled[i] for i in select(shuffled, split="val", holdout=0.02)} == held
    assert {keys[i] for i in select(keys[:5000], split="val", holdout=0.02)} == held & set(keys[:5000])
    assert held < {keys[i] for i in select(keys, split="val", holdout=0.1)}


def test_split_is_the_same_on_every_machine():
    keys = [f"{n}" for n in range(20)]
    assert select(keys, split="val", holdout=0.2).tolist() == [2, 6, 17, 18]


@pytest.mark.parametrize("count", range(2, 12))
def test_small_sets_have_both_parts(count):
    keys = [f"{n}.png" for n in range(count)]
    for holdout in (1e-9, 0.02, 0.999999):
        sizes = [len(select(keys, split=split, holdout=holdout)) for split in ("train", "val")]
        assert min(sizes) >= 1
        assert sum(sizes) == count


def test_one_record_trains_and_cannot_be_held_out():
    assert select(["a"], split="train", holdout=0.9).tolist() == [0]
    with pytest.raises(ValueError, match=r"split='val' is empty with holdout=0.9 of 1 records"):
        select(["a"], split="val", holdout=0.9)


def test_held_out_images_never_train(folder, shards):
    for reader, root, count in ((ImageFolder, folder, 3), (TarShards, shards, 15)):
        train, val = (ids(source) for source in both(reader, root, 0.3))
        assert not set(train) & set(val)
        assert len(train) + len(val) == count
        assert f"split 'train' shows {len(train)} (0.3 of all is held out)" in reader(data_root=root, holdout=0.3).describe()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_sources_work_as_copies_in_workers(shards):
    source = TarShards(data_root=shards, split="all")
    with get_context("fork").Pool(2) as pool:
        records = pool.map(source.__getitem__, range(15), chunksize=1)
    assert [record.image for record in records] == [source[i].image for i in range(15)]


def test_pickles_hold_no_open_files_and_stay_small(folder, tmp_path):
    entries = [{"image": "a.png", "id": n, "caption": "a long caption " * 20} for n in range(1000)]
    table = write(tmp_path / "j", {"x.jsonl": lines(*entries), "a.png": picture(5)})
    data = pickle.dumps(JsonLines(data_root=table, split="all"))
    assert len(data) < 45_000  # 32 bytes an entry and 8 for the split: the captions stay on the disk
    assert pickle.loads(data)[999].captions["alt"].startswith("a long caption")
    assert ids(pickle.loads(pickle.dumps(ImageFolder(data_root=folder, split="all")))) == [
        "a/B.png",
        "a/z.jpeg",
        "b.PNG",
    ]


def test_strings_is_a_list_of_strings():
    texts = ["", "a", "\u65e5\u672c", "\udcff", "\ud800", "b" * 300]
    strings = Strings(iter(texts))
    assert list(strings) == texts
    assert (strings[-1], strings[1:3], len(strings)) == (texts[-1], texts[1:3], 6)
    with pytest.raises(IndexError):
        strings[6]


def test_images_that_no_line_of_json_names_are_told(tmp_path):
    files = dict.fromkeys(("1.jpg", "2.jpg", "3.PNG", ".hidden.jpg"), picture())
    root = write(tmp_path / "mixed", {**files, "part.jsonl": '{"image": "./1.jpg", "caption": "a"}\n'})
    source = open_source(data_root=root, split="all")
    assert len(source) == 1
    assert "not read: 2 images beside the .jsonl (2.jpg)" in source.describe()
    write(root, {"rest.jsonl": '{"image": "2.jpg"}\n{"image": "3.PNG"}\n'})
    assert "not read" not in open_source(data_root=root, split="all").describe()


def test_numbers_that_are_none_cost_their_region_and_no_more(tmp_path):
    box, whole = {"box": [6, 4, 12, 20], "phrase": "x"}, {"box": [0, 0, 1, 1]}
    entries = [
        {"image": "ok.png", "id": 0, "regions": [{**whole, "class_id": 1e400}, {**whole, "kind": ["object"]}]},
        {"image": "ok.png", "id": 1, "width": 10**400, "height": 40, "regions": [box]},
        {"image": "ok.png", "id": 2, "width": 1e400, "height": 40, "regions": [box]},
    ]  # fmt: skip
    write(tmp_path, {"x.jsonl": lines(*entries), "ok.png": picture()})
    source = JsonLines(data_root=tmp_path / "x.jsonl", split="all")
    assert [(len(source[i].regions), len(source[i].unplaced), source.size(i)) for i in range(3)] == [
        (0, 2, (3, 4)), (0, 1, (3, 4)), (0, 1, (3, 4)),
    ]  # fmt: skip
    assert "region 0: class_id must be a whole number, not inf" in source.describe()
    assert "region 1: kind must be a text such as 'object' or 'text_line', not ['object']" in source.describe()


def test_a_key_that_comes_twice_loses_nothing_in_silence(tmp_path):
    text = '{"image": "ok.png", "caption": "one", "caption": "two"}\n' + lines({"image": "ok.png"})
    source = JsonLines(data_root=write(tmp_path, {"x.jsonl": text, "ok.png": picture()}) / "x.jsonl", split="all")
    assert source.skipped.listed == ["x.jsonl line 1: not valid JSON (the key 'caption' comes twice)"]
    write_tar(tmp_path / "0.tar", {"a.png": picture(), "a.json": '{"regions": [{"box": [0, 0, 1, 1], "box": [0, 0, 1, 0.5]}]}'})
    with pytest.raises(ValueError, match="the key 'box' comes twice"):
        TarShards(data_root=tmp_path / "0.tar", split="all")


def test_captions_phrases_and_questions_under_other_names_are_told(tmp_path):
    entries = [
        {"image": "ok.png", "id": 0, "TEXT": "a dog", "question": "What?"},
        {"image": "ok.png", "id": 1, "caption": "a", "title": "b"},
        {"image": "ok.png", "id": 2, "description": "a", "regions": [{"box": [0, 0, 1, 1], "label": "dog"}] * 2},
        {"image": "ok.png", "id": 3, "text": "", "regions": [{"box": [0, 0, 1, 1], "label": "dog", "text": 0}]},
    ]
    source = JsonLines(data_root=write(tmp_path, {"x.jsonl": lines(*entries), "ok.png": picture()}) / "x.jsonl", split="all")
    assert source.skipped.notes == {
        "'question' of 1 entries": "questions and answers are not read yet",
        "'TEXT' of 1 entries": "captions are read from 'caption', 'captions', 'text'",
        "'description' of 1 entries": "captions are read from 'caption', 'captions', 'text'",
        "'regions: label' of 1 entries": "what a region is called is read from its 'phrase'",
    }


def test_other_files_of_lines_beside_those_that_are_read_are_told(tmp_path):
    files = {"x.jsonl": lines({"image": "ok.png"}), "ok.png": picture()}
    write(tmp_path, {**files, "b.jsonl.gz": "x", "c.ndjson": "{}", "d.jsonl": "", "e.csv.gz": "x"})
    source = JsonLines(data_root=tmp_path, split="all")
    assert (source.skipped.count, source.skipped.listed) == (3, [
        "b.jsonl.gz is compressed and not read; decompress it (gunzip, ...)",
        "c.ndjson is not read; rename it to .jsonl",
        "d.jsonl is empty; fetch it again or remove it",
    ])  # fmt: skip


def test_texts_of_regions_hold_no_signs_that_nothing_can_write(tmp_path):
    regions = [{"box": [0, 0, 1, 1], "text": "EX\0IT \ud83d", "phrase": "\x1b[31mdog"}]
    write(tmp_path, {"x.jsonl": lines({"image": "ok.png", "regions": regions}), "ok.png": picture()})
    (region,) = JsonLines(data_root=tmp_path / "x.jsonl", split="all")[0].regions
    assert (region.text, region.phrase) == ("EXIT \ufffd", "[31mdog")


@pytest.mark.parametrize("odd", [{"kind": 3}, {"class_id": "x"}, {"text": False}])
def test_a_region_that_is_read_in_part_leaves_no_question_that_it_might_answer(tmp_path, odd):
    dogs = [{"box": [0, 0, 0.4, 1], "phrase": "dog"}, {"box": [0.5, 0, 1, 1], "phrase": "dog", **odd}]
    write(tmp_path, {"x.jsonl": lines({"image": "ok.png", "regions": dogs}), "ok.png": picture()})
    record = JsonLines(data_root=tmp_path / "x.jsonl", split="all")[0]
    assert [region.phrase for region in record.unplaced] == ["dog"]
    material = Material((*record.regions, *record.unplaced))
    assert [draft.task for draft in drafts(material)] == ["box2text"]
    assert material.dropped["text2box of an impossible box"] == 1


def test_a_path_of_windows_that_is_too_long_is_a_bad_sample(tmp_path):
    write(tmp_path, {"x.jsonl": lines({"image": "ok.png"}, {"image": "a\\" + "x" * 5000}), "ok.png": picture()})
    source = JsonLines(data_root=tmp_path / "x.jsonl", split="all")
    with pytest.raises(BadSample, match="File name too long"):
        source[1]
