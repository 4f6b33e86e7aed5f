"""Seconds from the start of the process of ``tools/train.py`` to the first step of its optimiser, with files in the page cache."""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.speed.benchmark import SPEED_BENCHMARKS, TINY, SpeedBenchmark
from benchmarks.speed.output import Column, Panel, Result

SCRIPT = Path(__file__).with_name("until_first_step.py")


@SPEED_BENCHMARKS.register_module(name="startup")
class StartupTime(SpeedBenchmark):
    """Seconds until torch is imported, and until the first step is done."""

    compares = "seconds from the start of tools/train.py to the first step of the optimiser"
    unit = "seconds"
    columns = (
        Column("until", "until"),
        Column("seconds", "median s", ".2f"),
        Column("least", "least s", ".2f"),
        Column("most", "most s", ".2f"),
    )
    quick = {"rounds": 1, "warm": 0, "options": ["model.teacher.type=RandomFeatureTeacher", "train_dataloader.batch_size=2"]}

    @staticmethod
    def add_options(command: argparse.ArgumentParser) -> None:
        command.add_argument("--config", default=TINY, help=f"what is trained (default: {TINY})")
        command.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="handed to tools/train.py")
        command.add_argument("--warm", type=int, default=1, help="starts that do not count (default: 1)")

    @staticmethod
    def run(arguments: argparse.Namespace) -> Result:
        """Starts the training several times; the first ones only fill the cache."""
        times = [start(arguments.config, arguments.options) for _ in range(arguments.warm + arguments.rounds)][arguments.warm :]
        rows = [
            {"until": name, "seconds": median(values), "least": min(values), "most": max(values), "all": values}
            for name, values in {name: [each[name] for each in times] for name in times[0]}.items()
        ]
        panels = [Panel("seconds until", {row["until"]: row["seconds"] for row in rows})]
        return Result({"config": arguments.config, "rounds": arguments.rounds}, rows, panels)


def start(config: str, options: list[str]) -> dict[str, float]:
    """Seconds until torch is imported, and until the first step is done."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, str(SCRIPT), config, "--work-dir", folder]
        command += ["--cfg-options", *options] if options else []
        begin = time.time()
        done = subprocess.run(command, capture_output=True, text=True)
    found = {name: float(at) - begin for name, at in re.findall(r"^(torch|first step) at ([\d.]+)$", done.stdout, re.MULTILINE)}
    if "first step" not in found:
        raise RuntimeError(f"{' '.join(command)} made no step:\n{done.stderr[-2000:] or done.stdout[-2000:]}")
    return {"torch is imported": found["torch"], "the first step is done": found["first step"]}
