"""finevit shards: make, show and check; what is not whole is named, and each trap has its count."""

import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sample_pages import Outline
from test_shards_training import RECORDS, Listed, file, pixels

from finevit.contracts import Record, Region
from finevit.shards.checking import check
from finevit.shards.files import read_table, write_table
from finevit.shards.manifest import load, save
from finevit.shards.schema import table
from finevit.shards.writing import write_source

TOOL = Path(__file__).parent.parent / "tools/shards.py"


@pytest.fixture
def shards(monkeypatch, capsys) -> Callable[..., SimpleNamespace]:
    """Runs the tool in this process; its exit status and what it said."""

    def run(*arguments: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["shards.py", *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(TOOL), run_name="__main__")
        except SystemExit as exit:
            code = exit.code
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, err=said.err)

    return run


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images with captions, of which one is torn."""
    (tmp_path / "images").mkdir()
    for seed in range(5):
        (tmp_path / "images" / f"{seed}.jpg").write_bytes(file(seed)[: 700 if seed == 3 else None])
        (tmp_path / "images" / f"{seed}.txt").write_text(f"number {seed} <b>")
    return tmp_path / "images"


def test_make_show_and_check(shards, folder, tmp_path):
    made = shards("make", folder, tmp_path / "set", "--rows", 2)
    assert made.code == 0
    assert f"{tmp_path / 'set'}: 4 images in 3 shards" in made.out
    assert "1 cannot be used" in made.err
    assert "5/5" in made.err
    shown = shards("show", tmp_path / "set", "--out", tmp_path / "page.html", "--n", 3)
    assert (shown.code, shown.err) == (0, "")
    for said in ("3 shards", "5: 4 kept, 1 rejected (1 unreadable)", "4 given; 3.0 words each", "3 records drawn into"):
        assert said in shown.out
    outline = Outline((tmp_path / "page.html").read_text())
    assert outline.tags.count("img") == len(outline.loads) == 3
    assert "4 given; 3.0 words each" in outline.text
    checked = shards("check", tmp_path / "set")
    assert checked.code == 0
    assert "is whole: 5 images" in checked.out
    (manifest,) = (tmp_path / "set" / "manifests").iterdir()
    assert shards("show", manifest).out == shown.out.replace(f"3 records drawn into {tmp_path / 'page.html'}\n", "")
    assert shards("check", manifest).code == 0
    again = shards("make", folder, tmp_path / "set")
    assert (again.code, "is a dataset already" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "none"], "a dataset of shards has a manifest.json"),
        (["check", "none"], "a dataset of shards has a manifest.json"),
        (["make", "none", "out"], "data_root='none' does not exist"),
        (["make", ".", "out", "--rows", "0"], "--rows 0: give a whole number of images"),
        (["show", "none", "--out", "page.png"], "give a file that ends in .html"),
        (["import", "cocoa", "x", "out"], "format 'cocoa' is unknown (did you mean 'coco'?); there are coco,"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(shards, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jpg").write_bytes(file())
    done = shards(*arguments)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


def _spoil(root: Path, kind: str) -> None:
    manifest = load(root)
    shard = manifest.shards[0]
    path = root / shard.files[kind].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_changed_bit_of_any_file_is_found(tmp_path):
    for kind in ("pixels", "images", "captions", "regions"):
        root = tmp_path / kind
        write_source(Listed(RECORDS), root, shard=3)
        assert check(root).count == 0
        _spoil(root, kind)
        found = check(root)
        assert found.count == 1
        assert load(root).shards[0].files[kind].path + " is damaged or another file: it has SHA-256" in found.faults[0]


def _rewritten(root: Path, kind: str, change: Callable[[list[dict]], list[dict]]) -> None:
    """A manifest whose first shard has a table with other rows."""
    manifest = load(root)
    shard = manifest.shards[0]
    rows = change(read_table(root / shard.files[kind].path).to_pylist() if kind in shard.files else [])
    files = {**shard.files, kind: write_table(table(kind, rows), root, f"00000.{kind}")}
    save(root, replace(manifest, shards=(replace(shard, files=files), *manifest.shards[1:]), parent=""))


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("images", lambda rows: [rows[0] | {"offset": 1024}, *rows[1:]], "does not lie at 1024"),
        ("images", lambda rows: [rows[0] | {"sample_id": "f" * 32}, *rows[1:]], "have another SHA-256 than its sample_id says"),
        ("images", lambda rows: [rows[0], *rows], "two kept images have the sample_id"),
        ("images", lambda rows: [rows[0] | {"width": None}, *rows[1:]], "kept images without width"),
        ("captions", lambda rows: [rows[0] | {"sample_id": "f" * 32}, *rows], "rows of images that are not in their shard"),
        ("regions", lambda rows: [rows[0], *rows], "region_ids that come again"),
        ("regions", lambda rows: [rows[0] | {"bbox": [0.5, 0.1, 0.5, 0.2]}, *rows[1:]], "kept boxes that are none"),
    ],
)
def test_joins_offsets_and_boxes_are_verified(tmp_path, kind, change, said):
    write_source(Listed(RECORDS), tmp_path)
    _rewritten(tmp_path, kind, change)
    found = check(tmp_path)
    assert found.count >= 1
    assert any(said in fault for fault in found.faults), found.faults


def test_what_is_missing_and_what_no_manifest_lists(tmp_path):
    write_source(Listed(RECORDS), tmp_path, shard=3)
    _rewritten(tmp_path, "captions", lambda rows: rows[1:])
    (tmp_path / "00009.tar").write_bytes(b"")
    assert check(tmp_path).traps["unlisted"] == 1
    assert check(tmp_path).count == 0
    (tmp_path / "00001.tar").unlink()
    next((tmp_path / "manifests").iterdir()).unlink()
    next((tmp_path / "manifests").iterdir()).unlink()
    faults = check(tmp_path).faults
    assert faults[0].startswith("manifest.json: its own copy, manifests/")
    assert faults[1] == "00001.tar cannot be read (No such file or directory)"


def test_each_trap_has_its_count(tmp_path):
    def region(box, phrase="", text="", kind="object"):
        return Region(box, kind, phrase, text=text)

    line = "text_line"
    regions = (
        region((0.0, 0.0, 0.5, 0.5), "Dog"),
        region((0.5, 0.5, 0.9, 0.9), "dog"),
        region((0.1, 0.5, 0.4, 0.9), "cat"),
        region((0.0, 0.0, 1.0, 0.99), "wall"),
        region((0.2, 0.2, 0.25, 0.9), "pole"),
        region((0.1, 0.1, 0.9, 0.3), text="EXIT", kind=line),
        region((0.1, 0.7, 0.9, 0.9), text="Exit", kind=line),
        region((0.1, 0.4, 0.9, 0.6), text="Way out", kind=line),
    )
    captions = {"a": "A sign “exit” and “way  out.”", "b": 'It says "STOP".', "c": "No quote."}
    gone = (region((0, 0, 0, 0), "nowhere"),)
    records = [Record("a", pixels(1, 100, 200), captions, regions, unplaced=gone), Record("b", pixels(2), {"a": "dog"})]
    write_source(Listed(records), tmp_path)
    traps = check(tmp_path, patch=14).traps
    assert dict(traps) == {
        **{"phrases": 1, "strings": 1, "quotes": 1, "small": 1, "void": 1, "full": 1, "rejected": 0, "spans": 0, "unlisted": 0}
    }
    assert check(tmp_path, patch=10).traps["small"] == 0

    identity = load(tmp_path).shards[0]
    rows = read_table(tmp_path / identity.files["images"].path).to_pylist()
    span = {"sample_id": rows[1]["sample_id"], "captioner": "a", "phrase": "dog", "class_id": 0, "class_name": "dog"}
    spans = [span | {"char_start": 0, "char_end": 3}, span | {"char_start": 1, "char_end": 3}]
    _rewritten(tmp_path, "phrases", lambda _: spans)
    _rewritten(tmp_path, "images", lambda rows: [rows[0], rows[1] | {"verdict": "rejected", "reasons": ["small"]}])
    found = check(tmp_path)
    assert (found.count, found.traps["spans"], found.traps["rejected"]) == (0, 1, 3)


def test_numbers_and_checks_need_no_torch(tmp_path):
    write_source(Listed(RECORDS), tmp_path / "set")
    for command in ("show", "check"):
        lines = [
            f"import sys; sys.argv = ['shards', '{command}', {str(tmp_path / 'set')!r}]",
            "from finevit.commands import shards; shards.main()",
            "assert not {'torch', 'mmengine'} & set(sys.modules)",
        ]
        done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False)
