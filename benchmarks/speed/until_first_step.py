"""Runs ``tools/train.py`` with the arguments that follow, until an optimiser has made its first step; then says when that was.

python benchmarks/speed/until_first_step.py configs/finevit_tiny_stage1.py --work-dir DIR
"""

import runpy
import sys
import time
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools/train.py"
MARK = "first step at"


def stop(*_: object) -> None:
    """Called by torch after a step of any optimiser: prints the time of the clock, and ends the run as Ctrl-C would not."""
    print(f"{MARK} {time.time()!r}", flush=True)
    raise SystemExit


if __name__ == "__main__":
    from torch.optim.optimizer import register_optimizer_step_post_hook

    print(f"torch at {time.time()!r}", flush=True)
    register_optimizer_step_post_hook(stop)
    sys.argv[0] = str(TOOL)
    sys.path[0] = str(TOOL.parent)
    runpy.run_path(str(TOOL), run_name="__main__")
