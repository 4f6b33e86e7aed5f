"""The page of a recaptioning run: whole or not, with failures, rejected images and texts that would break it; its numbers."""

import gc
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import odd_engines  # noqa: F401
import pytest
import yaml
from PIL import Image
from test_recaption import ENGINES, run, settings

from finevit.commands.recaption import load, parse_args
from finevit.recaption.console import print_status
from finevit.recaption.described import public
from finevit.recaption.page import write_page
from finevit.recaption.shots import _mark, parts
from finevit.recaption.statistics import describe, merged, numbers_of, quoted
from finevit.recaption.status import _failures
from finevit.recaption.view import Failure, View
from finevit.recaption.work import Workshop
from finevit.shards.schema import table

NAME = "<b>'&amp;' {}.png"
EVIL = "A <script>alert(1)</script> red ball"


def noise(path: Path, *, side: int = 64, seed: int = 0) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve images, and one for each of some reasons to be rejected."""
    there = tmp_path_factory.mktemp("images")
    for number in range(12):
        noise(there / NAME.format(number), seed=number)
    noise(there / "small.png", side=16, seed=50)
    Image.new("RGB", (64, 64), (90, 120, 100)).save(there / "flat.png")
    (there / "broken.png").write_bytes((there / "small.png").read_bytes()[:100])
    (there / "again.png").write_bytes((there / NAME.format(9)).read_bytes())
    (there / "same.png").write_bytes((there / NAME.format(0)).read_bytes())
    return there


def odd(folder: Path, **passes) -> dict:
    captions = dict(ENGINES["captions"], captioners={"odd": {"type": "OddCaptioner"}})
    local = {"type": "LocalCaptions", "captioner": {"type": "OddCaptioner"}}
    source = {"type": "ImageFolder", "data_root": str(folder), "split": "all"}
    boxes = {name: {**ENGINES[name], "grounder": {"type": "OddGrounder"}} for name in ("grounding", "region_check")}
    told = settings(source=source, per_shard=8, **{"captions": captions, "local_captions": local, **boxes, **passes})
    return {**told, "custom_imports": {"imports": ["sample_engines", "odd_engines"]}}


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("odd")
    told = odd(folder)
    report, _ = run(told, work_dir)
    assert not report.errors
    path = write_page(told, work_dir, work_dir / "report.html", images=6)
    return told, work_dir, path.read_text()


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        assert all(value.startswith("data:image/") for name, value in attrs if name == "src")

    def handle_data(self, data):
        self.text += data


def test_nothing_in_a_page_is_run(whole):
    page = Tags(whole[2])
    assert "script" not in page.tags
    assert EVIL in page.text, "the caption stands there as it is"
    assert NAME.format(0) in page.text
    assert "<img src=x> went wrong" in page.text


def test_each_reason_and_each_failure_is_shown(whole):
    text = Tags(whole[2]).text
    for reason in ("unreadable", "repeated", "duplicate", "small", "blurred"):
        assert f"rejected: {reason}" in text
    for status in ("timeout", "refused"):
        assert re.search(rf"{status}: [^<]*: <img src=x> went wrong", text), status
    assert "Requests that failed" in text


def test_a_stand_in_is_called_one(whole):
    text = Tags(whole[2]).text
    assert "stand-in-odd@1 (a stand-in)" in text
    assert "proves nothing of a model" in text


def test_what_was_replaced_and_what_it_said(whole):
    told, work_dir, page = whole
    view = View(Workshop(told, work_dir))
    replaced = [row for shard in view.shards for row in view.tables(shard)["regions"].to_pylist() if row["replaced_caption"]]
    assert {(row["replaced_caption"], row["local_caption"]) for row in replaced} == {("The text.", "EXIT")}
    text = Tags(page).text
    assert "takes the place of: The text." in text
    assert "found again by its caption, IoU 1.00" in text
    assert "unconfirmed: the grounder does not find what the caption says" in text


def test_the_numbers_are_those_of_the_tables(whole):
    told, work_dir, _ = whole
    view = View(Workshop(told, work_dir))
    rows = [view.tables(shard) for shard in view.shards]
    ok = sum(row["status"] == "ok" for each in rows for row in each["captions"].to_pylist())
    numbers = json.loads((work_dir / "statistics.json").read_text())
    assert numbers["images"] == {"kept": 12, "photo": 12, "rejected": 5}
    assert numbers["filtered"] == {"share": 5 / 17, "paper": 0.03}
    assert numbers["lengths"]["global captions"]["count"] == ok > 0
    assert numbers["lengths"]["global captions"]["paper"] == {"count": 63_000_000, "mean": 211}
    assert numbers["quotes"] == {"captions": ok, "unread": ok}, "OCR reads EXIT alone"
    assert numbers == json.loads(json.dumps(numbers, sort_keys=True))


def test_a_page_is_the_same_each_time(whole, tmp_path):
    told, work_dir, before = whole
    again = write_page(told, work_dir, tmp_path / "again.html", images=6).read_text()
    date = re.compile(r"<dt>date</dt><dd>[^<]*</dd>")
    assert date.sub("", again) == date.sub("", before)


def test_a_run_that_stopped_before_its_captions_has_a_page(folder, tmp_path):
    told = odd(folder)
    first = {**told, "passes": {name: told["passes"][name] for name in ("index", "quality")}}
    run(first, tmp_path)
    text = Tags(write_page(told, tmp_path, tmp_path / "report.html").read_text()).text
    assert "the run is not whole" in text
    assert "rejected: small" in text
    assert NAME.format(3) in text


def test_boxes_that_are_not_sampled_yet_are_shown(folder, tmp_path):
    told = odd(folder)
    first = {name: told["passes"][name] for name in ("index", "quality", "captions", "phrases", "grounding")}
    run({**told, "passes": first}, tmp_path)
    later = {**told, "passes": {**told["passes"], "ocr": None, "duplicates": None}}
    text = " ".join(Tags(write_page(later, tmp_path, tmp_path / "report.html").read_text()).text.split())
    assert "red ball class ball, score 0.90, keep_prob 1" in text
    assert "the run is not whole" in text


def test_a_dataset_without_a_kept_image_has_a_page(folder, tmp_path):
    told = odd(folder, quality={"type": "QualityFilter", "short_side": 1000})
    run(told, tmp_path)
    text = Tags(write_page(told, tmp_path, tmp_path / "report.html", images=6).read_text()).text
    assert "There are none." in text
    assert "100.0 % rejected" in text


def test_no_run_is_an_error_that_says_what_to_do(folder, tmp_path):
    with pytest.raises(ValueError, match="holds no run of this config yet; run `finevit recaption CONFIG` first"):
        write_page(odd(folder), tmp_path, tmp_path / "report.html")


def test_a_caption_is_cut_at_its_phrases():
    text = "A container and a container number."
    rows = [(2, 11, "container"), (18, 34, "container number"), (18, 27, "container"), (0, 4, "gone")]
    found = parts(text, [{"char_start": a, "char_end": b, "phrase": c, "class_name": "x"} for a, b, c in rows])
    assert found == [("A ", ""), ("container", "x"), (" and a ", ""), ("container number", "x"), (".", "")]


def test_numbers_of_shards_add_up():
    shards = [{"examples": {"photo": 3}, "images": {"kept": 2}}, {"examples": {"photo": 1, "replaced": 0}, "images": {"kept": 5}}]
    found = merged([("00000", shards[0]), ("00001", shards[1])])
    assert found == {"examples": {"photo": ["00000", 3], "replaced": ["00001", 0]}, "images": {"kept": 7}}
    assert describe({"10": 1, "2": 3}) == {"count": 4, "mean": 4.0, "median": 2, "p95": 10}
    assert describe({}) == {"count": 0}


def test_quotes_are_found():
    assert quoted('A sign says "NO ENTRY" and “Exit”, and "" is empty.') == ["NO ENTRY", "Exit"]


def test_boxes_are_measured_in_pixels_of_their_image():
    image = {
        "sample_id": "i",
        "shard": "0",
        "source": "s",
        "width": 400,
        "height": 100,
        "kind": "photo",
        "verdict": "kept",
        "reasons": [],
    }
    region = dict.fromkeys(("region_id", "phrase", "detector"), "x") | {"kind": "object", "class_id": 0, "class_name": "a"}
    region |= {"sample_id": "i", "score": 1.0, "keep_prob": 1.0, "status": "ok", "bbox": [0.0, 0.0, 0.5, 0.5]}
    regions = [{**region, "kept": True, "reasons": []}, {**region, "kept": False, "reasons": ["sampled: too many"]}]
    tables = {"images": [image], "captions": [], "phrases": [], "regions": regions}
    found = numbers_of({name: table(name, rows) for name, rows in tables.items()})
    assert found["boxes"]["kept"] == {"side": {"10": 1}, "aspect": {"4": 1}, "per_image": {"1": 1}}
    assert found["boxes"]["found"]["per_image"] == {"2": 1}
    assert found["classes"] == {"before sampling": {"a": 2}, "after sampling": {"a": 1}, "kept": {"a": 1}}


def test_the_card_says_what_the_dataset_is(whole):
    card = (whole[1] / "dataset/README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "unknown"
    assert head["size_categories"] == ["n<1K"]
    assert {each["config_name"] for each in head["configs"]} == {"images", "captions", "phrases", "regions"}
    assert all((whole[1] / "dataset" / file).is_file() for each in head["configs"] for file in each["data_files"])
    assert "17 images, of which 12 are kept" in card
    assert "**stand-in-odd@1: stand-in in place of models.**" in card
    assert "| captions | stand-in-odd@1 (a stand-in) |" in card
    assert "captions, dense:\n\n    Describe it." in card
    assert "| suppress | iou 0.7, per_image 40, min_side 0.01, max_area 0.95 |" in card
    assert re.search(r"quality \| short_side 32, aspect 3.0, ", card)
    assert "| quality | small | 1 |" in card
    assert re.search(r"captions: \d rows without an answer, timeout \(no answer before the deadline\)", card)
    assert "Not whole:" in card


def test_a_card_has_no_place_time_or_address(whole):
    told, work_dir, _ = whole
    card = (work_dir / "dataset/README.md").read_text()
    assert f"data_root='{Path(told['source']['data_root']).name}'" in card
    assert "/tmp" not in card
    assert str(work_dir) not in card
    assert set(re.findall(r"https?://[^)\s]+", card)) == {"https://arxiv.org/abs/2603.17326"}


@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_card_can_be_followed(whole, monkeypatch):
    monkeypatch.chdir(whole[1] / "dataset")
    made: dict = {}
    for code in re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL):
        exec(code, made)
    assert made["captions"].num_rows == 12
    assert len(list(made["images"])) == 15, "images that are rejected for their quality, or as duplicates, are stored too"
    made.clear()
    gc.collect()  # webdataset leaves the tar open


def test_settings_are_told_without_what_is_nobodys_business():
    told = {"type": "X", "data_root": "/home/me/photos", "base_url": "http://10.0.0.1:8000/v1", "api_key": "k", "iou": 0.5}
    assert public(told) == {"type": "X", "data_root": "photos", "iou": 0.5}
    assert public({"note": "see http://10.0.0.1/x and /srv/data/a.txt or km/h"}) == {"note": "see (address) and a.txt or km/h"}


def test_the_status_says_what_failed_what_it_cost_and_what_is_partial(whole, capsys):
    told, work_dir, _ = whole
    assert print_status(told, work_dir) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"captions 3/3, \d partial", said)
    assert re.search(r"partial in captions: shards 0000\d", said)
    assert re.search(r"captions: \d refused, asked again by finevit recaption retry; such as: <img src=x> went wrong", said)
    assert re.search(r"captions: \d timeout, asked again by the next run; such as: <img src=x> went wrong", said)
    assert re.search(r"captions stand-in-odd@1 3 9 9 ", said), "answered, failed, retries"
    assert "left:" not in said


def test_what_a_server_says_cannot_write_on_the_terminal():
    said = _failures([Failure("captions", "refused", 2, "no\x1b[2J\nway")])
    assert said == ["captions: 2 refused, asked again by finevit recaption retry; such as: no [2J way"]


def test_a_label_ends_with_its_picture():
    box = [0.75, 0.1, 0.9, 0.1, 0.9, 0.2, 0.75, 0.2]
    mark = _mark(box, 352, 352, 0, "a phrase that is long")
    assert (mark.label, mark.x, mark.y) == ("1 a phrase th", 267.0, 47.2)
    assert mark.points == "264.0,35.2 316.8,35.2 316.8,70.4 264.0,70.4"


def test_the_status_says_what_is_left(folder, tmp_path, capsys):
    told = odd(folder)
    assert print_status(told, tmp_path) == 0
    assert "nothing is planned yet" in capsys.readouterr().out
    run({**told, "passes": {"index": told["passes"]["index"]}}, tmp_path)
    View(Workshop(told, tmp_path)).shop.sidecar("index", "00001").path(".done.json").unlink()
    assert print_status(told, tmp_path) == 0
    assert re.search(r"left: 0:00:0\d of one process, and 11 passes that have not begun", capsys.readouterr().out)


def test_images_of_ones_own_take_the_place_of_the_scenes(folder):
    cfg = load(parse_args(["status", "recaption", "--cfg-options", f"data_root={folder}"]))
    assert cfg.source == {"type": "OpenData", "split": "all", "data_root": str(folder)}
