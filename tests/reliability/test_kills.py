"""SIGKILL at any moment of a run: what is resumed reaches the weights of a run that was never stopped, to the bit."""

import random
import time
from pathlib import Path

import torch
from tiny_runs import start

STEPS = 8
OPTIONS = (f"train_cfg.max_iters={STEPS}", "train_cfg.val_interval=4", "default_hooks.checkpoint.interval=2")


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / f"iter_{STEPS}.pth", weights_only=False, mmap=True)["state_dict"]


def test_kills(trial, tmp_path):
    chance, identical, kills = random.Random(0), 0, trial.count(50)
    for stage in (1, 2, 3):
        whole, broken = tmp_path / f"whole{stage}", tmp_path / f"broken{stage}"
        begin = time.monotonic()
        assert start(stage, whole, options=OPTIONS).wait() == 0
        seconds = time.monotonic() - begin
        for _ in range(kills // 3 + (stage <= kills % 3)):
            process = start(stage, broken, "--resume", options=OPTIONS)
            time.sleep(chance.uniform(0.3, 1) * seconds)
            process.kill()
            process.wait()
        assert start(stage, broken, "--resume", options=OPTIONS).wait() == 0
        one, other = weights(whole), weights(broken)
        assert one.keys() == other.keys()
        identical += all(torch.equal(one[name], other[name]) for name in one)
    trial.record(kills=kills, stages=3, identical=identical)
    assert identical == 3
