"""The benchmark of detectors and segmenters: same steps from both starts, the gain in the table, and nothing done twice."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from downstream import run

SCORES = {"mask_rcnn": ({"coco/bbox_mAP_50": 0.75, "coco/segm_mAP_50": 0.7}, 0.6), "upernet": ({"mIoU": 56.0}, 0.2)}
"""What a training ends with, and what share of it from random weights."""


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """What would be run; a training leaves the log that MMEngine leaves, and a stage a checkpoint."""
    calls: list[list[str]] = []

    def call(*command: object) -> None:
        calls.append([str(part) for part in command])
        if "--work-dir" in calls[-1]:
            folder, options = Path(calls[-1][3]), " ".join(calls[-1])
            log = folder / "20260101/vis_data/scalars.json"
            log.parent.mkdir(parents=True, exist_ok=True)
            scores, share = next(found for task, found in SCORES.items() if task in options)
            factor = 1.0 if "init_cfg.checkpoint" in options else share
            lines = [{"loss": 1.0}, {key: value * factor for key, value in scores.items()}]
            log.write_text("\n".join(map(json.dumps, lines)))

    def train(config: str, folder: Path, *, steps: int, options: list[str]) -> dict:
        calls.append([config, str(steps), *options])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"iter_{steps}.pth").touch()
        return {}

    monkeypatch.setattr(run.runs, "call", call)
    monkeypatch.setattr(run.runs, "train", train)
    monkeypatch.setattr(run.runs, "steps_for", lambda minutes, *rest: round(10 * minutes))
    return calls


def command(monkeypatch, folder: Path, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--work-dir", str(folder / "runs"), "--out", str(folder / "out.json"), *options])
    run.main()


def test_both_starts_are_trained_alike(commands, tmp_path, monkeypatch, capsys):
    command(monkeypatch, tmp_path, "--checkpoint", str(tmp_path / "iter_9.pth"), "--seeds", "0", "3", "--steps", "5")
    trainings = [call for call in commands if call[0] == "tools/train.py"]
    assert len(trainings) == 2 * 2 * 2
    for trained, random in zip(trainings[::2], trainings[1::2], strict=True):
        assert set(trained) - set(random) == {trained[3], f"model.backbone.init_cfg.checkpoint={tmp_path / 'iter_9.pth'}"}
        assert {"train_cfg.max_iters=5"} < set(random)
    assert [call[5] for call in trainings] == ["randomness.seed=0"] * 4 + ["randomness.seed=3"] * 4
    table = capsys.readouterr().out
    assert "| mask_rcnn | coco/bbox_mAP_50 | 0.450 | 0.750 | +0.300 | 2 |" in table
    assert "| upernet | mIoU | 0.112 | 0.560 | +0.448 | 2 |" in table
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["asked"]["start"] for row in rows] == ["checkpoint", "random"] * 4


def test_without_a_checkpoint_the_stages_come_first_and_once(commands, tmp_path, monkeypatch):
    command(monkeypatch, tmp_path, "--tasks", "upernet_finevit_tiny_scenes")
    stages = [call for call in commands if call[0].startswith("configs/")]
    assert [call[:2] for call in stages] == [["configs/finevit_tiny_stage1.py", "30"], ["configs/finevit_tiny_stage2.py", "120"]]
    assert stages[1][-1] == f"load_from={tmp_path}/runs/seed0/stage1/iter_30.pth"
    trained = next(call for call in commands if call[0] == "tools/train.py")
    assert trained[-1] == f"model.backbone.init_cfg.checkpoint={tmp_path}/runs/seed0/stage2/iter_120.pth"
    commands.clear()
    command(monkeypatch, tmp_path, "--tasks", "upernet_finevit_tiny_scenes")
    assert [call[0] for call in commands] == ["tools/write_scenes.py"]
    with pytest.raises(ValueError, match=r"upernet_finevit_tiny_scenes-checkpoint is of another run \(steps were None, are 4\)"):
        command(monkeypatch, tmp_path, "--tasks", "upernet_finevit_tiny_scenes", "--steps", "4")
