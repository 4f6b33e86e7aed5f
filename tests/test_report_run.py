"""What a report says of the run itself: where it comes from, what its config changes, plan and outcome, what was left out."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from sample_pages import Outline, stage1_page

import finevit
from finevit.config.loading import load_config
from finevit.datasets.readers.files import Skipped
from finevit.engine.hooks.bad_samples_hook import BadSamplesHook
from finevit.engine.hooks.plan_hook import PlanHook
from finevit.engine.run_record import changes, left_out, planned, reason
from finevit.planning.plan import Plan, Point
from finevit.provenance import commit_of, provenance
from finevit.visualization.report import Changes, SkippedSamples, render, run_sections, table

ROOT = Path(__file__).parents[1]


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_of_a_checkout_and_whether_files_differ(tmp_path):
    assert commit_of(tmp_path) == ""
    git(tmp_path, "init")
    assert commit_of(tmp_path) == ""  # no commit yet
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")[:12]
    (tmp_path / "notes").write_text("of no commit")
    assert commit_of(tmp_path) == head
    (tmp_path / "code.py").write_text("2")
    assert commit_of(tmp_path) == f"{head}, with changes that are not committed"
    (tmp_path / "within").mkdir()
    assert commit_of(tmp_path / "within") == ""  # a package that somebody keeps inside a repository of their own
    (tmp_path / "within" / ".git").write_text("gitdir: /no/such/folder")
    assert commit_of(tmp_path / "within") == ""


def test_the_head_of_a_page_names_command_version_and_device(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tools/train.py", "a config.py", "<b>", "\udcff"])
    facts = dict(provenance("4 x CPU"))
    assert facts["command"] == "tools/train.py 'a config.py' '<b>' '\\udcff'"
    assert facts["version"] == f"FineViT {finevit.__version__}"
    assert facts["device"].startswith("4 x CPU, PyTorch 2.")
    assert next(iter(facts)) == "date"


def test_changes_of_the_command_line_and_of_the_file(tmp_path):
    (tmp_path / "base.py").write_text("model = dict(type='FineViT', depth=2, arch=dict(dim=8))\nkept = 1\n_private = 3")
    (tmp_path / "leaf.py").write_text("_base_ = 'base.py'\nmodel = dict(depth=4)\nfresh = dict(a=[1, 2])")
    cfg = load_config(tmp_path / "leaf.py", {"model.arch.dim": 16, "kept": 5})
    cfg.work_dir, cfg.resume = "somewhere", True
    found = changes(cfg)
    assert sorted(found.options) == [("kept", "1", "5"), ("model.arch.dim", "8", "16")]
    assert sorted(found.file) == [("fresh", "", "{'a': [1, 2]}"), ("model.depth", "2", "4")]
    assert changes(Config({"a": 1})) == Changes((), ())


@pytest.mark.parametrize("name", ["finevit_tiny_stage1", "finevit_l_stage2", "finevit_tiny_stage3"])
def test_changes_of_the_projects_own_configs_are_those_of_the_leaf(name):
    found = changes(load_config(ROOT / f"configs/{name}.py"))
    assert found.options == []
    assert ("train_cfg", "") in [change[:2] for change in found.file] or any("max_iters" in change[0] for change in found.file)


def run(tmp_path: Path, *hooks: object, **values: object) -> SimpleNamespace:
    import torch

    source = SimpleNamespace(skipped=Skipped())
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=SimpleNamespace(source=source)))
    batches = SimpleNamespace(batch_sampler=SimpleNamespace(batch_size=8))
    default = {"world_size": 2, "iter": 30, "max_iters": 100, "val_loop": None, "model": torch.nn.Linear(1, 1)}
    return SimpleNamespace(hooks=hooks, train_loop=loop, train_dataloader=batches, work_dir=tmp_path, **{**default, **values})


def test_plan_and_outcome_side_by_side(tmp_path):
    hook = PlanHook()
    rows = planned(run(tmp_path, hook), 90.0)
    assert rows[:3] == [["", "planned", "happened"], ["steps", "100", "30"], ["images", "1,600", "480"]]
    assert rows[3] == ["time of the steps", "no plan: finevit train --plan", "1.5 min"]
    assert (rows[4][:2], rows[4][2].endswith(" GiB"), len(rows)) == (["memory at the peak", ""], True, 5)
    points = (Point(step=0, values={}, lr=1.0, patches=64.0, tokens=0.0, flops=1.0, seconds=1.2, memory=2**30),)
    hook.plan = Plan("c", "k", "CPU", "2026-01-01T00:00:00", 100, 16, points, {}, ())
    hook.found = {"patches": {"predicted": 64.0, "seen": 65.4, "off": 0.02}, "seconds": {"predicted": 1.2, "seen": 3.0, "off": 1.5}}
    rows = planned(run(tmp_path, hook), 90.0)
    assert rows[3:5] == [["time of the steps", "2.0 min", "1.5 min"], ["memory at the peak", "1.00 GiB", rows[4][2]]]
    assert rows[5:] == [["patches a step", "64", "65"], ["seconds a step", "1.200", "3.000"]]


def test_what_was_left_out_by_reason(tmp_path):
    hook = BadSamplesHook()
    hook.bad = ["a.jpg: torn after 300 bytes", "b.jpg: torn after 1,200 bytes", "a.jpg: torn after 300 bytes"]
    hook.held_out = ["c.jpg: no image file"]
    given = run(tmp_path, hook)
    skipped = given.train_loop.dataloader.dataset.source.skipped
    skipped.kept = 1
    skipped.add("captions.jsonl line 2: id 'a' was in line 1")
    skipped.add("captions.jsonl line 9: id 'b' was in line 3")
    found = left_out(given)
    assert dict(found.reasons) == {
        "torn after … bytes": 2,
        "no image file": 1,
        "id … was in line …": 1,
        "an entry was left out when the data was opened, and is not in the list": 1,
    }
    assert len(found.messages) == 4
    assert left_out(run(tmp_path, BadSamplesHook())) == SkippedSamples((), ())
    assert reason("nothing but this") == "nothing but this"


def test_the_page_shows_the_run_and_escapes_it(tmp_path):
    awkward = "<script>alert(1)</script>"
    told = run_sections(
        Changes([("model.<b>", awkward, "x" * 999)], [("kept", "1", "2")]),
        [["", "planned", "happened"], ["steps", "100", awkward]],
        SkippedSamples([(awkward, 70)], [f"{index}: {awkward}" for index in range(70)]),
    )
    page = replace(stage1_page(tmp_path), about=[("command", f"train.py {awkward}"), ("git commit", "abc")], run=told)
    html = render(page)
    outline = Outline(html)
    assert "script" not in outline.tags
    for text in ("Plan against what happened", "Skipped samples", "What the config changes", "and 10 more", "git commit", awkward):
        assert text in outline.text
    assert "<td>skipped samples</td><td>0</td><td>70</td>" in html
    assert "x" * 160 + " …" in outline.text
    assert "x" * 161 not in html
    assert html.index("git commit") < html.index("Masked R²") < html.index("Plan against")


def test_only_what_there_is_gets_a_section():
    titles = [section.title for section in run_sections(Changes((), ()), [["", "planned", "happened"]], SkippedSamples((), ()))]
    assert titles == ["Plan against what happened"]
    assert "more" not in Outline(table([["a"], ["b"]])).text
