"""Workers that the system kills, that are stopped, or that block: named with their record; the run saves and ends."""

import random
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from broken_runs import STEPS, Forks, Line, finished, moment, printed, saved

LIMIT = ("custom_hooks.11.minutes=0.1",)
MANY = ("val_dataloader.dataset.source.length=64",)
KILLED = (
    r"error: (worker 1 of {loader}|a worker of a loader) \(pid \d+\) (is killed by signal: Killed|exited unexpectedly); "
    "mostly for want of memory"
)
STOPPED = r"error: {loader} has yielded nothing for \d+ s: .*worker 1 \(pid \d+, stopped by a signal\)"
BLOCKED = r"error: {loader} has yielded nothing for \d+ s: (worker \d|the main process) \(pid \d+, waiting\) at record \d+ for"
PLACES = {"train_dataloader": ("hook before_train_iter", 4), "val_dataloader": ("hook before_val_iter", 18)}


@pytest.fixture(scope="module")
def line(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Line:
    return Line(forks, tmp_path_factory.mktemp("workers"), 1, 1)


def cases(line: Line) -> list[tuple[str, list[dict[str, Any]], Path, tuple[str, ...], str]]:
    """What is done to a run, how it is told, with which config and options, and by what."""
    found = []
    for loader, (at, nth) in PLACES.items():
        for number, said in ((signal.SIGKILL, KILLED), (signal.SIGSTOP, STOPPED)):
            found.append(
                (
                    f"{number.name} in {loader}",
                    [moment(at, number, nth=nth, to="worker")],
                    line.configs[1],
                    MANY,
                    said.format(loader=loader),
                )
            )
        for whole in line.configs:
            config = whole.with_stem(f"sleepy_{whole.stem}")
            config.write_text(f'{whole.read_text()}custom_imports = dict(imports=["sleepy"])\n')
            sleepy = f"{loader}.dataset.transforms.0"
            options = (f"{sleepy}.type=Sleepy", f"{sleepy}.nth=14", *MANY)
            found.append((f"blocked in {loader}, {config.stem}", [], config, options, BLOCKED.format(loader=loader)))
    return found


def test_workers_of_tools(trial, forks, line):
    """Of ``tools/test.py`` and ``tools/probe.py``."""
    checkpoint, ends = str(line.finished / f"iter_{STEPS}.pth"), []
    test = ["tools/test.py", str(line.configs[1]), checkpoint, "--cfg-options", *LIMIT, *MANY]
    probe = [
        "tools/probe.py",
        checkpoint,
        "--probes",
        "knn",
        "--images",
        "64",
        "32",
        "--cfg-options",
        "val_dataloader.num_workers=2",
    ]
    tried = (
        ("SIGKILL in test", test, moment("hook before_test_iter", signal.SIGKILL, nth=2, to="worker"), KILLED),
        ("SIGSTOP in test", test, moment("hook before_test_iter", signal.SIGSTOP, nth=2, to="worker"), STOPPED),
        ("SIGKILL in probe", probe, moment("os.fork", signal.SIGKILL, nth=2, after=0.3, to="worker"), KILLED),
    )
    for what, argv, told, said in tried[: trial.count(3)]:
        work_dir = line.broken.with_name(re.sub(r"\W+", "_", what))
        assert forks.run(work_dir, [*argv, "--work-dir", str(work_dir)], [told]) == 2, printed(work_dir)
        assert re.search(said.format(loader="test_dataloader"), printed(work_dir)), printed(work_dir)
        assert "Traceback" not in printed(work_dir)
        assert not (work_dir / "results.json").exists()
        ends.append(what)
    trial.record(ends=ends)


def test_workers_of_a_run(trial, forks, line):
    """In training and in validation; what was learned is saved."""
    ends = []
    for what, moments, config, options, said in random.Random(0).sample(cases(line), trial.count(8)):
        work_dir = line.broken.with_name(re.sub(r"\W+", "_", what))
        assert forks.train(config, work_dir, "--cfg-options", *LIMIT, *options, moments=moments) == 2, printed(work_dir)
        text = printed(work_dir)
        assert re.search(said, text), text
        assert "Traceback" not in text
        assert 0 < finished(work_dir) == saved(work_dir) == int(re.search(r"saved step (\d+) of 8", text)[1]), text
        ends.append(what)
        print(what, saved(work_dir), flush=True)
    trial.record(ends=ends)
