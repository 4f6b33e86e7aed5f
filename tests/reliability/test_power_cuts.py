"""The power goes, or a SIGKILL comes, while checkpoints are written: the last that was said to stand, or a later one, does."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from power import can_mount, copy_image, cut, make_image, mounted, wait_for
from tiny_runs import ROOT, start

from finevit.engine.checkpoints import check_resumable
from finevit.engine.newest_checkpoint import newest

STEPS = 8
OPTIONS = (
    f"train_cfg.max_iters={STEPS}",
    "train_cfg.val_interval=100",
    "default_hooks.checkpoint.interval=1",
    "custom_hooks.9.before=False",
)
HERE = Path(__file__).parent


class Writer:
    """``writer.py``, whose children are killed."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(HERE / "writer.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        assert self._line() == "ready"

    def _line(self) -> str:
        return self.process.stdout.readline().strip()

    @contextmanager
    def writing(self, folder: Path, progress: Path, mirror: str = "") -> Iterator[int]:
        """A child that writes into ``folder`` and has written some; it is killed at the end."""
        before = said(progress)
        self.process.stdin.write(f"{folder}\t{progress}\t{mirror}\n")
        self.process.stdin.flush()
        child = int(self._line())
        try:
            wait_for(lambda: said(progress) > before)
            yield child
        finally:
            os.kill(child, signal.SIGKILL)
            assert self._line() == "gone"


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = Writer()
    yield made
    for pipe in (made.process.stdin, made.process.stdout):
        pipe.close()
    made.process.wait()


def said(progress: Path) -> int:
    """The last step whose checkpoint stood."""
    text = progress.read_text() if progress.exists() else ""
    return int(text or 0)


def stands(folder: Path, last: int) -> bool:
    """Whether the newest whole checkpoint of a folder is of step ``last`` or later, and holds what that step had."""
    found, _ = newest(str(folder))
    if found is None:
        return False
    step, weight = check_resumable(found), torch.load(found)["state_dict"]["weight"]
    return step >= last and bool((weight == step).all())


def test_kills_of_a_write(trial, writer, tmp_path):
    """SIGKILL at any moment, most of them in a write, where one checkpoint is kept."""
    chance, kills, progress, whole, torn = random.Random(0), trial.count(20), tmp_path / "progress", 0, 0
    for _ in range(kills):
        with writer.writing(tmp_path / "run", progress):
            time.sleep(chance.uniform(0, 0.3))
        torn += any((tmp_path / "run").glob("*.unfinished"))
        whole += stands(tmp_path / "run", said(progress))
    trial.record(kills=kills, in_a_write=torn, whole=whole)
    assert whole == kills


def test_power_cuts(trial, writer, tmp_path):
    """The file system's image is copied while a run writes, mounted, and gone on from."""
    cuts, mounts = trial.count(20), can_mount(tmp_path)
    trial.record(cuts=cuts, by="ext4 image" if mounts else "shim of fsync")
    of_runs = max(1, cuts // 10)
    whole = (images if mounts else shims)(writer, tmp_path, cuts - of_runs if mounts else cuts)
    if mounts:
        whole += sum(complete_run(tmp_path, n) for n in range(of_runs))
    trial.record(whole=whole)
    assert whole == cuts


def test_what_was_not_synced_is_dropped(trial, writer, tmp_path):
    """The way where nothing can be mounted."""
    cuts = trial.count(20)
    whole = shims(writer, tmp_path, cuts)
    trial.record(cuts=cuts, whole=whole)
    assert whole == cuts


def images(writer: Writer, tmp_path: Path, cuts: int) -> int:
    """How many copies of an image held a whole checkpoint; each is the disk that is written next."""
    chance, progress, whole = random.Random(1), tmp_path / "said", 0
    image, copy = tmp_path / "disk.img", tmp_path / "copy.img"
    make_image(image)
    for _ in range(cuts):
        with mounted(image, tmp_path / "disk") as disk, writer.writing(disk / "run", progress) as child:
            time.sleep(chance.uniform(0, 1))
            last = said(progress)
            copy_image(image, copy, child)
        with mounted(copy, tmp_path / "disk") as disk:
            whole += stands(disk / "run", last)
        progress.write_text(str(last))
        copy.replace(image)
        print(f"{whole} whole after a cut at step {last}", flush=True)
    return whole


def shims(writer: Writer, tmp_path: Path, cuts: int) -> int:
    """The same, of what was synced."""
    chance, whole = random.Random(2), 0
    for n in range(cuts):
        folder, mirror, progress = (tmp_path / f"{name}{n}" for name in ("shim", "mirror", "at"))
        with writer.writing(folder, progress, str(mirror)) as child:
            time.sleep(chance.uniform(0, 0.5))
            last = said(progress)
            os.kill(child, signal.SIGSTOP)
            for harsh in (False, True):
                cut(folder, mirror, tmp_path / f"left{n}{harsh}", harsh=harsh)
        whole += all(stands(tmp_path / f"left{n}{harsh}", last) for harsh in (False, True))
    return whole


def complete_run(tmp_path: Path, n: int) -> bool:
    """Whether a run of the tiny Stage I goes on from the copy of its disk to the weights of one that was not cut."""
    image, copy = tmp_path / "run.img", tmp_path / "run_copy.img"
    make_image(image)
    with mounted(image, tmp_path / "disk") as disk:
        process = start(1, disk / "run", options=OPTIONS)
        try:
            wait_for(lambda: (disk / f"run/iter_{3 + n}.pth").exists() or process.poll() is not None, 300)
            time.sleep(random.Random(n).uniform(0, 0.5))
            last = max((int(path.stem[5:]) for path in (disk / "run").glob("iter_*.pth")), default=0)
            copy_image(image, copy, process.pid)
        finally:
            assert process.wait() == 0
        expected = torch.load(disk / f"run/iter_{STEPS}.pth", weights_only=False)["state_dict"]
    with mounted(copy, tmp_path / "disk") as disk:
        found, _ = newest(str(disk / "run"))
        assert found is not None
        assert check_resumable(found) >= last - 1
        assert start(1, disk / "run", "--resume", options=OPTIONS).wait() == 0
        ended = torch.load(disk / f"run/iter_{STEPS}.pth", weights_only=False)["state_dict"]
        return all(torch.equal(ended[name], value) for name, value in expected.items())
