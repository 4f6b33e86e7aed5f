"""Seconds from the start of the process of ``tools/train.py`` to the first step of its optimiser, with files in the page cache."""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.speed.output import Column, Panel, Result

SCRIPT = Path(__file__).with_name("until_first_step.py")
COLUMNS = (
    Column("until", "until"),
    Column("seconds", "median s", ".2f"),
    Column("least", "least s", ".2f"),
    Column("most", "most s", ".2f"),
)


def run(arguments: argparse.Namespace) -> Result:
    """Starts the training several times; the first ones only fill the cache."""
    times = [start(arguments.config, arguments.options) for _ in range(arguments.warm + arguments.rounds)][arguments.warm :]
    rows = [
        {"until": name, "seconds": median(values), "least": min(values), "most": max(values), "all": values}
        for name, values in {name: [each[name] for each in times] for name in times[0]}.items()
    ]
    panels = [Panel("seconds until", {row["until"]: row["seconds"] for row in rows})]
    return Result("startup", {"config": arguments.config, "rounds": arguments.rounds}, COLUMNS, rows, panels, "seconds")


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
