"""What the benchmarks share: the repository's programs as commands, the steps that fit into so many minutes, parts run once."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
LEAST = 4
"""Steps of a run, of which the first two tell nothing of its time."""


def call(*command: object) -> None:
    """Run one of the repository's programs; its output passes through."""
    paths = os.pathsep.join(filter(None, (str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH"))))  # of configs' own parts
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": paths})


def train(config: str, folder: Path, *, steps: int, options: Sequence[str]) -> dict:
    """Train a config for so many steps; what its ``results.json`` then says."""
    call("tools/train.py", config, "--work-dir", folder, "--cfg-options", f"train_cfg.max_iters={steps}", *options)
    return json.loads((folder / "results.json").read_text())


def steps_for(minutes: float, config: str, folder: Path, options: Sequence[str]) -> int:
    """The number of steps whose predicted time is ``minutes``."""
    return steps_of("seconds", 60 * minutes, config, folder, options)


def steps_of(total: str, amount: float, config: str, folder: Path, options: Sequence[str], steps: int = 400) -> int:
    """The number of steps whose planned ``total`` (``seconds``, ``flops``) is ``amount``; the folder then holds their plan.

    Schedules stretch with the run, so that the two are proportional.
    """
    for _ in range(2):  # the second plan is the one that the run is compared with
        plan = ("--plan", config, "--work-dir", folder, "--cfg-options", f"train_cfg.max_iters={steps}")
        call("tools/train.py", *plan, *options)
        planned = json.loads((folder / "plan.json").read_text())["totals"][total]
        found, steps = steps, max(LEAST, round(steps * amount / planned))
    return found


def part(folder: Path, asked: dict, run: Callable[[], dict]) -> dict[str, Any]:
    """What ``run`` finds, with what was ``asked`` and the ``minutes`` of the clock that it took, unless it was done before.

    ``ValueError`` where the folder holds what was asked for otherwise.
    """
    note = folder / "part.json"
    if note.exists():
        done = json.loads(note.read_text())
        old = done["asked"]
        if changed := [f"{key} were {old.get(key)}, are {asked[key]}" for key in asked if old.get(key) != asked[key]]:
            raise ValueError(f"{folder} is of another run ({'; '.join(changed)}): give another --work-dir, or remove it")
        return done
    begin = time.monotonic()
    found = run()
    done = {"asked": asked, "minutes": (time.monotonic() - begin) / 60, **found}
    save(note, done)
    return done


def save(file: Path, content: dict) -> None:
    """Writes JSON, whole or not at all."""
    draft = file.with_suffix(".part")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(file)


def machine() -> dict[str, str | int]:
    """What minutes are minutes of."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads()}
