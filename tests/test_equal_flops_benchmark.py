"""The benchmark of cheaper training: every variant costs the same FLOPs, and its curve lies over what it has cost."""

import argparse
import json
import sys
from pathlib import Path

import pytest

from finevit.config.loading import load_config
from finevit.engine.cli import Options
from finevit.planning.plan import Plan, Point

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from equal_flops import run  # noqa: E402

FLOPS = {"milestones=[(0.0,112)]": 3.0, "DropPatches": 0.5}
"""How much dearer or cheaper a step gets by a setting."""


@pytest.fixture
def trainings(monkeypatch) -> list[tuple[str, int, list[str]]]:
    """What would be trained: config, steps and options; a step costs 4 FLOPs at first, 2 at last, times what its settings do."""
    calls: list[tuple[str, int, list[str]]] = []

    def call(
        _program: str, _plan: str, config: str, _work_dir: str, folder: Path, _options: str, steps: str, *options: str
    ) -> None:
        factor = 1.0
        for setting, times in FLOPS.items():
            factor *= times if any(setting in option for option in options) else 1.0
        count = int(steps.split("=")[1])
        common = {"values": {}, "lr": 1.0, "patches": 1.0, "tokens": 0.0, "seconds": 0.1, "memory": 1.0}
        ends = [Point(step=step, flops=flops * factor, **common) for step, flops in ((0, 4.0), (count - 1, 2.0))]
        made = {"key": "", "device": "", "made": "", "batch": 1, "points": tuple(ends), "parts": {}, "calibration": ()}
        Plan(config=config, steps=count, **made).save(folder)

    def train(config: str, folder: Path, *, steps: int, options: list[str]) -> dict:
        calls.append((config, steps, options))
        metric = next(stage.metric for stage in run.STAGES.values() if stage.config == config)
        interval = int(options[-1].removeprefix("train_cfg.val_interval="))
        places = [*range(0, steps, interval), steps]
        return {"evaluations": [{"iteration": place, metric: place / 1000} for place in places], "protocols": {}}

    monkeypatch.setattr(run.runs, "call", call)
    monkeypatch.setattr(run.runs, "train", train)
    return calls


def command(monkeypatch, folder: Path, *options: str) -> list[dict]:
    monkeypatch.setattr(sys, "argv", ["run.py", "--work-dir", str(folder / "runs"), "--out", str(folder / "out.v1"), *options])
    run.main()
    return json.loads((folder / "out.v1.json").read_text())["rows"]


def test_every_variant_costs_the_same(trainings, tmp_path, monkeypatch, capsys):
    """Dearer steps are fewer; Stage II starts from what Stage I's recipe has learned, of the same seed."""
    rows = command(monkeypatch, tmp_path, "--seeds", "0", "7", "--minutes1", "0.5", "--minutes2", "1")
    second = [row for row in rows if row["stage"] == 2 and row["seed"] == 7]
    assert [row["steps"] for row in second] == [600, 200, 400, 1200]  # of a tenth of a second
    for row in second:
        assert row["flops"][0] == 0
        assert row["flops"][-1] == pytest.approx(600 * 3, rel=1e-3)
        assert row["flops"][1] > row["flops"][-1] / 5  # the first fifth of the steps: they were dearer
        assert row["values"][-1] == row["steps"] / 1000
        assert len(row["flops"]) == len(row["values"]) == 6
    starts = {options[1] for config, _, options in trainings if "stage2" in config}
    assert starts == {f"load_from={tmp_path}/runs/seed{seed}/stage1/0/iter_300.pth" for seed in (0, 7)}
    line = capsys.readouterr().out.splitlines()[-5]
    assert line == "| Stage II: 112² from the start | 200 | 0.000 | 0.200 (0.200 to 0.200) |"
    assert (tmp_path / "out.v1.svg").read_text().count("</svg>") == 1


def test_what_is_finished_is_not_run_again(trainings, tmp_path, monkeypatch):
    options = ("--stages", "2", "--minutes2", "1", "--load-from", str(tmp_path / "stage1.pth"))
    first = command(monkeypatch, tmp_path, *options)
    assert {options[1] for _, _, options in trainings} == {f"load_from={tmp_path}/stage1.pth"}
    (tmp_path / "runs/seed0/stage2/2/part.json").unlink()  # as if it had been interrupted
    trainings.clear()
    again = command(monkeypatch, tmp_path, *options)
    assert len(trainings) == 1
    assert [row["flops"] for row in again] == [row["flops"] for row in first]
    with pytest.raises(ValueError, match=r"is of another run \(minutes were 1\.0, are 2\.0"):
        command(monkeypatch, tmp_path, *options[:2], "--minutes2", "2", *options[4:])


@pytest.mark.parametrize("number", run.STAGES)
def test_the_variants_are_settings_of_the_configs(number):
    """Each changes what it says, and the first is the recipe."""
    stage = run.STAGES[number]
    loaded = []
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=Options, default={})
    for options in stage.variants.values():
        given = parser.parse_args(["--cfg-options", *options] if options else []).cfg_options  # as tools/train.py reads them
        cfg = load_config(ROOT / stage.config, given)
        loaded.append((cfg.model.to_dict(), cfg.train_dataloader.batch_sampler.to_dict()))
    for _, batches in loaded:
        assert all(isinstance(each["milestones"], list) for each in batches.values() if each and "milestones" in each)
    assert loaded[0] == (load_config(ROOT / stage.config).model.to_dict(), loaded[0][1])
    assert all(one != other for index, one in enumerate(loaded) for other in loaded[:index])
