"""Training in bfloat16 on images and texts of ever new sizes: the memory of the process is level."""

import json
import time
from pathlib import Path

from tiny_runs import start

from finevit.precision import bfloat16_helps

EVERY = 25
LEVEL, FILLING = 0.05, 0.15
"""By how much memory may grow over the second half of a run; of a short one, which ends before the caches of kernels are full. What
they hold once they are full, tests/test_kernels.py asserts in seconds."""
OPTIONS = (
    *("train_cfg.val_interval=100000", "default_hooks.checkpoint.interval=100000", "train_dataloader.batch_size=2"),
    "train_dataloader.batch_sampler.resolution.milestones=[(0.0,84)]",
    "train_dataloader.batch_sampler.schedules.Tokenize.max_seq_len.milestones=[(0.0,64)]",
    *("optim_wrapper.optimizer.type=AdamW", "optim_wrapper.optimizer.lr=3e-4", f"default_hooks.logger.interval={EVERY}"),
)
"""Sizes vary from image to image and caption to caption, not with the step: a larger budget takes more memory by right. AdamW:
the products of Muon are of the same sizes in every step, and most of its time."""


def step_of(work_dir: Path) -> int:
    """The step that was logged last."""
    lines = [line for file in work_dir.glob("*/vis_data/scalars.json") for line in file.read_text().splitlines(keepends=True)]
    return max((json.loads(line).get("step", 0) for line in lines[-1:] if line.endswith("\n")), default=0)


def held(process: int) -> dict[str, int | float]:
    """MiB that a process has in main memory, and the seconds of the processor that it has used; nothing of one that has ended."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    if "VmRSS" not in status:
        return {}
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return {"mebibytes": int(status["VmRSS"].split()[0]) >> 10, "seconds": (int(user) + int(system)) / 100}


def watch(work_dir: Path, steps: int) -> dict[int, dict[str, int | float]]:
    """What a run holds, by the step that it has logged."""
    process, seen = start(2, work_dir, "--amp", options=(*OPTIONS, f"train_cfg.max_iters={steps}")), {}
    while process.poll() is None:
        step = step_of(work_dir)
        if 0 < step < steps and step not in seen and (now := held(process.pid)):
            seen[step] = now
            print(step, now, flush=True)
        time.sleep(0.2)
    assert process.returncode == 0, work_dir.with_name(work_dir.name + ".log").read_text()[-2000:]
    return seen


def test_bfloat16_memory(trial, tmp_path):
    steps = trial.count(2000)
    seen = watch(tmp_path / "run", steps)
    late = {step: now for step, now in seen.items() if step >= steps // 2}
    assert len(late) >= steps // EVERY // 3  # it was looked at often
    sizes, first, last = [now["mebibytes"] for now in late.values()], min(late), max(late)
    growth = max(sizes) / min(sizes) - 1
    trial.record(
        steps=steps,
        bfloat16=bfloat16_helps(),
        late_growth=round(growth, 4),
        seconds_a_step=round((late[last]["seconds"] - late[first]["seconds"]) / (last - first), 3),
        mebibytes={step: now["mebibytes"] for step, now in seen.items()},
    )
    assert growth <= (LEVEL if steps >= 2000 else FILLING)
