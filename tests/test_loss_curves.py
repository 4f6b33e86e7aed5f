"""Twenty steps of each tiny stage, in float32 on one thread: the losses of before, to the last bit where they were recorded.

A change that means to leave training as it is leaves these curves. One that means to change it records them anew, and says so in
its commit: ``python tests/test_loss_curves.py``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
CURVES = ROOT / "tests" / "loss_curves"
STAGES = {
    "stage1": ROOT / "configs" / "finevit_tiny_stage1.py",
    "stage2": ROOT / "configs" / "finevit_tiny_stage2.py",
    "stage3": CURVES / "stage3.py",
}
STEPS = 20
OPTIONS = [
    f"train_cfg.max_iters={STEPS}",
    "train_dataloader.batch_size=8",
    "val_dataloader=None",
    "val_cfg=None",
    "val_evaluator=None",
    "optim_wrapper.type=GuardedOptimWrapper",
    "default_hooks.logger.interval=1",
    "log_processor.window_size=1",
]


def machine() -> dict[str, str]:
    """What decides the last bits of a sum."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    capability = torch.backends.cpu.get_cpu_capability()
    return {"processor": model.partition(":")[2].strip(), "torch": torch.__version__, "capability": capability}


def curve(stage: str, work_dir: Path) -> dict[str, list[float]]:
    """The losses and the norm of the gradients of each step."""
    options = [*OPTIONS, *(["model.teacher.dtype=float32"] if stage == "stage1" else [])]
    command = [sys.executable, "tools/train.py", str(STAGES[stage]), "--work-dir", str(work_dir), "--cfg-options", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    (scalars,) = work_dir.glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    rows = [row for row in rows if "loss" in row]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    names = sorted(name for name in rows[0] if "loss" in name or name == "grad_norm")
    return {name: [row[name] for row in rows] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_the_loss_curve_of_before(stage, tmp_path):
    recorded = json.loads((CURVES / f"{stage}.json").read_text())
    found = curve(stage, tmp_path)
    if recorded["machine"] == machine():
        assert found == recorded["curve"]
    assert set(found) == set(recorded["curve"])
    for name, values in recorded["curve"].items():
        assert found[name] == pytest.approx(values, rel=1e-3), name


if __name__ == "__main__":
    import tempfile

    for name in sys.argv[1:] or STAGES:
        with tempfile.TemporaryDirectory() as folder:
            text = json.dumps({"machine": machine(), "curve": curve(name, Path(folder))}, indent=1)
        (CURVES / f"{name}.json").write_text(text + "\n")
        print(f"recorded {name}", flush=True)
