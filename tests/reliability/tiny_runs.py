"""Short runs of the tiny stages as processes of their own, for trials that break them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    *(
        "train_dataloader.batch_size=4",
        "train_dataloader.num_workers=1",
        "val_dataloader.batch_size=4",
        "val_dataloader.num_workers=0",
    ),
    *("val_dataloader.dataset.source.length=8", "default_hooks.logger.interval=1"),
)
"""Settings that make a step of a tiny stage cost a fraction of a second."""


def command(stage: int, work_dir: Path, *flags: str, options: tuple[str, ...] = ()) -> list[str]:
    """The command of a short run of a tiny stage."""
    config = ROOT / f"configs/finevit_tiny_stage{stage}.py"
    train = [sys.executable, str(ROOT / "tools/train.py"), str(config), "--work-dir", str(work_dir)]
    return [*train, *flags, "--cfg-options", *SMALL, *options]


def start(stage: int, work_dir: Path, *flags: str, options: tuple[str, ...] = (), **popen: object) -> subprocess.Popen:
    """Starts it, with one thread; its output goes to ``<work_dir>.log``."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with work_dir.with_name(work_dir.name + ".log").open("ab") as log:
        asked = command(stage, work_dir, *flags, options=options)
        return subprocess.Popen(asked, cwd=ROOT, env=environment, stdout=log, stderr=log, **popen)
