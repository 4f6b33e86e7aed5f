"""What the benchmarks share: the repository's programs as commands, and the steps that fit into so many minutes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
LEAST = 4
"""Steps of a run, of which the first two tell nothing of its time."""


def call(*command: object) -> None:
    """Run one of the repository's programs; its output passes through."""
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True)


def train(config: str, folder: Path, *, steps: int, options: Sequence[str]) -> dict:
    """Train a config for so many steps; what its ``results.json`` then says."""
    call("tools/train.py", config, "--work-dir", folder, "--cfg-options", f"train_cfg.max_iters={steps}", *options)
    return json.loads((folder / "results.json").read_text())


def steps_for(minutes: float, config: str, folder: Path, options: Sequence[str], steps: int = 400) -> int:
    """The number of steps whose predicted time is ``minutes``; schedules stretch with the run, so that the two are proportional."""
    for _ in range(2):  # the second plan is the one that the run is compared with
        plan = ("--plan", config, "--work-dir", folder, "--cfg-options", f"train_cfg.max_iters={steps}")
        call("tools/train.py", *plan, *options)
        seconds = json.loads((folder / "plan.json").read_text())["totals"]["seconds"]
        found, steps = steps, max(LEAST, round(steps * 60 * minutes / seconds))
    return found


def machine() -> dict[str, str | int]:
    """What minutes are minutes of."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads()}
