"""Runs that are broken off at a moment, gone on from, and compared with whole ones."""

import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import small
import torch

ROOT = Path(__file__).resolve().parents[2]
STEPS = 8
MOMENTS = {
    "start": (r"open .*\.in_use", 2.0),
    "step": ("hook before_train_iter", 0.2),
    "after a step": ("hook after_train_iter", 0.02),
    "write": (r"open .*iter_\d+\.pth\.unfinished", 0.02),
    "digest": (r"\.pth\.sha256\.unfinished", 0.0),
    "rename": (r"os.rename .*\.pth$", 0.0),
    "note": ("last_checkpoint", 0.0),
    "removal": (r"os.remove .*iter_\d+\.pth", 0.0),
    "before validation": ("hook before_val$", 0.0),
    "validation": ("hook before_val_iter", 0.1),
    "result": (r"hook after_val_epoch|results\.json", 0.0),
    "end": ("hook after_train$", 2.0),
    "anything": ("", 0.01),
}
"""Moments of a run by their line of the trail (``forks.py``), and the most seconds that may pass after it."""
TIMES = re.compile("time|images_per_s|patches_per_s|fill")
OF_VALIDATION = "val/"
"""Of the validations ``results.json`` and the curves are the record, which a kill after them does not touch."""
OF_A_START = ("cfg", "experiment_name", "mmengine_version", "last_ckpt", "keep_ckpt_ids", "eta", "loop_stage")
"""What of a checkpoint is of the start of the run that wrote it, and of the checkpoints that signals had it write."""
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}


class Forks:
    """Runs of ``forks.py``."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/reliability'}"}
        command = [sys.executable, str(ROOT / "tests/reliability/forks.py")]
        self.process = subprocess.Popen(command, bufsize=0, env=environment, cwd=ROOT, **PIPES)
        self.finished: dict[tuple[int, int], Path] = {}
        """Whole runs, by stage and accumulation."""
        assert self._line(120) == "ready"

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _line(self, seconds: float) -> str:
        assert select.select([self.process.stdout], [], [], seconds)[0], f"no answer in {seconds} s"
        return self.process.stdout.readline().decode().strip()

    def run(self, work_dir: Path, argv: Sequence[str], moments: Sequence[dict[str, Any]] = (), seconds: float = 120) -> int:
        """The exit status of a tool; what it prints goes to ``<work_dir>.log``, what it does to ``<work_dir>.trail``."""
        files = {ending: work_dir.with_name(f"{work_dir.name}.{ending}") for ending in ("log", "trail")}
        for file in files.values():
            file.unlink(missing_ok=True)
        request = {"argv": argv, "moments": moments, **{name: str(file) for name, file in files.items()}}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        child = int(self._line(10))
        try:
            return int(self._line(seconds))
        except AssertionError:
            os.killpg(child, signal.SIGKILL)
            raise AssertionError(f"no end after {seconds} s:\n{printed(work_dir)}") from None

    def train(self, config: Path, work_dir: Path, *flags: str, moments: Sequence[dict[str, Any]] = ()) -> int:
        """The exit status of a training."""
        return self.run(work_dir, ["tools/train.py", str(config), "--work-dir", str(work_dir), *flags], moments)


def moment(at: str, number: int, *, nth: int = 1, after: float = 0.0, late: float = 0.0, to: str = "run") -> dict[str, Any]:
    """When a run gets a signal, as ``forks.py`` has it; ``late`` are seconds that the run waits for it."""
    return {"at": at, "nth": nth, "after": after, "to": to, "signals": [(late, number)]}


def printed(work_dir: Path) -> str:
    return work_dir.with_name(work_dir.name + ".log").read_text()


def finished(work_dir: Path) -> int:
    """The last step that the newest start of a run says it has done."""
    logs = sorted(work_dir.glob("*/*.log"))
    return max(map(int, re.findall(r"Iter\(train\) +\[ *(\d+)/", logs[-1].read_text())), default=0) if logs else 0


def saved(work_dir: Path) -> int:
    """The step of the newest checkpoint."""
    return max((int(path.stem[5:]) for path in work_dir.glob("iter_*.pth")), default=0)


def trail(work_dir: Path) -> list[str]:
    path = work_dir.with_name(work_dir.name + ".trail")
    return path.read_text().splitlines() if path.exists() else []


def recorded(work_dir: Path) -> dict[int, list[dict[str, Any]]]:
    """What the curves of a run have of each step, of all its starts: without times."""
    found: dict[int, list[dict[str, Any]]] = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            scalars = {name: value for name, value in json.loads(line).items() if not TIMES.search(name)}
            found.setdefault(scalars["step"], []).append(scalars)
    return found


def left(work_dir: Path) -> dict[str, Any]:
    """All that a run has come to, without times."""
    checkpoint = torch.load(work_dir / f"iter_{STEPS}.pth")
    scalars = checkpoint["message_hub"]["log_scalars"]
    told = {name: value for name, value in checkpoint["message_hub"]["runtime_info"].items() if name not in OF_A_START}
    histories = {name: history for name, history in scalars.items() if not (TIMES.search(name) or name.startswith(OF_VALIDATION))}
    results = json.loads((work_dir / "results.json").read_text())
    return {
        **{name: checkpoint[name] for name in ("state_dict", "optimizer", "param_schedulers")},
        "meta": {name: checkpoint["meta"][name] for name in ("iter", "epoch", "seed", "data_order")},
        "histories": histories,
        "told": told,
        "results": results,
    }


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two values differ, by a bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other}, key=str)
        return [each for key in keys for each in differences(one.get(key), other.get(key), f"{at}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [each for n, (a, b) in enumerate(zip(one, other, strict=True)) for each in differences(a, b, f"{at}[{n}]")]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape and one.numpy().tobytes() == other.numpy().tobytes()
    else:
        same = one == other or (one != one and other != other)
    return [] if same else [at]


class Line:
    """A whole run, and one that is broken off again and again."""

    def __init__(self, forks: Forks, folder: Path, stage: int, accumulates: int) -> None:
        self.forks, self.stage = forks, stage
        self.configs = [small.write(folder, stage, steps=STEPS, workers=workers, accumulates=accumulates) for workers in (0, 2)]
        self.broken, self.compared = folder / f"broken{stage}_{accumulates}", 0
        if (stage, accumulates) not in forks.finished:
            whole = folder / f"whole{stage}_{accumulates}"
            assert forks.train(self.configs[0], whole) == 0, printed(whole)
            forks.finished[stage, accumulates] = whole
        self.finished = forks.finished[stage, accumulates]
        self.whole, self.curves = left(self.finished), recorded(self.finished)

    def break_off(self, chance: random.Random, kind: str, number: int) -> int:
        """The exit status of the run, which was signalled at a moment of a kind; one that came to its end before begins anew."""
        at, most = MOMENTS[kind]
        after, to = chance.uniform(0, most), chance.choice(("run", "group"))
        for nth in (chance.randint(1, 100) if kind == "anything" else chance.choice((1, 1, 2, 3)), 1, 1):
            status = self.forks.train(
                chance.choice(self.configs), self.broken, "--resume", moments=[moment(at, number, nth=nth, after=after, to=to)]
            )
            if status:
                return status
            self.compare(status)
            shutil.rmtree(self.broken)
        raise AssertionError(f"{kind} did not come:\n{printed(self.broken)}")

    def end(self) -> None:
        """Lets the run come to its end."""
        self.compare(self.forks.train(self.configs[0], self.broken, "--resume"))

    def compare(self, status: int) -> None:
        """The run has come to its end."""
        assert status == 0, printed(self.broken)
        assert differences(self.whole, left(self.broken)) == []
        found = recorded(self.broken)
        assert found.keys() == self.curves.keys()
        for step, several in self.curves.items():
            for each in found[step]:
                assert each in several
            assert all(each in found[step] for each in several), step
        self.compared += 1
