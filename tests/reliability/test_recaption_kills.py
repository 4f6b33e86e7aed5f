"""Kills of a run that recaptions: what was answered is paid once, and the result is that of a run that nobody disturbed."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
IMAGES, WORKERS = 60, 2
CONFIG = """
default_scope = "finevit"
custom_imports = dict(imports=["sample_engines"])
source = dict(type="Scenes", level="easy", split="val", length={images}, max_side=96)
executor = dict(type="ProcessPool", workers={workers})
_paid = dict(type="PaidCaptioner", bill="{bill}")
passes = dict(
    index=dict(type="Index", images_per_shard=20, captions=False),
    quality=dict(type="QualityFilter", short_side=32),
    captions=dict(type="GlobalCaptions", captioners=dict(a=_paid), prompts=dict(dense="Describe it.", short="Say it.")),
    phrases=dict(type="NounPhrases", extractor=dict(type="SampleExtractor")),
    grounding=dict(type="Grounding", grounder=dict(type="SampleGrounder")),
    suppress=dict(type="SuppressBoxes"),
    sample=dict(type="ClassBalancedSampling"),
    local_captions=dict(type="LocalCaptions", captioner=_paid),
    assemble=dict(type="Assemble"),
)
"""


class Recaptioning:
    """A run in a folder; ``paid`` are the keys of the requests that were paid, in their order."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.bill = folder, folder / "bill.txt"
        self.bill.touch()
        config = folder / "config.py"
        config.write_text(CONFIG.format(images=IMAGES, workers=WORKERS, bill=self.bill))
        self.command = [sys.executable, "-m", "finevit", "recaption", str(config), "--work-dir", str(folder / "work")]

    def start(self) -> subprocess.Popen:
        paths = {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log, start_new_session=True, env=os.environ | paths)

    @property
    def paid(self) -> list[str]:
        return self.bill.read_text().split()

    def files(self) -> list[tuple[str, bytes]]:
        dataset = self.folder / "work/dataset"
        from finevit.shards import manifest

        listed = [file.path for shard in manifest.load(dataset).shards for file in shard.files.values()]
        return [(name, (dataset / name).read_bytes()) for name in sorted(listed)]


def members(group: int) -> list[int]:
    """The processes of a session."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                words = (each / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[3]) == group and words[0] != "Z":
                found.append(int(each.name))
    return sorted(found)


def kill(process: subprocess.Popen, how: str, dice: random.Random) -> None:
    """The driver, one of its processes, or all."""
    others = [each for each in members(process.pid) if each != process.pid]
    chosen = {"driver": [process.pid], "worker": dice.sample(others, 1) if others else [], "all": [process.pid, *others]}[how]
    for each in chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def wait_for_all(group: int) -> None:
    """Until the last process of a session is gone."""
    begin = time.monotonic()
    while members(group):
        assert time.monotonic() - begin < 10, "processes end with the driver"
        time.sleep(0.05)


def test_recaption_kills(trial, tmp_path):
    """SIGKILL of the driver, of a worker, of all, at random moments."""
    undisturbed = Recaptioning(tmp_path / "undisturbed")
    assert undisturbed.start().wait(600) == 0, (tmp_path / "undisturbed/log.txt").read_text()[-2000:]
    total = len(undisturbed.paid)
    assert total == len(set(undisturbed.paid)), "an undisturbed run pays once"

    killed, dice, kills = Recaptioning(tmp_path / "killed"), random.Random(1), 0
    wanted = trial.count(20)
    goals = sorted(dice.sample(range(1, total), wanted))
    for goal in goals:
        process = killed.start()
        while len(killed.paid) < goal and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is not None:
            break
        time.sleep(dice.random() * 0.1)
        kill(process, ("all", "driver", "worker")[kills % 3], dice)
        kills += 1
        if kills % 3 == 0:  # a worker: the driver goes on by itself
            time.sleep(1)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wait_for_all(process.pid)
    assert killed.start().wait(600) == 0, (tmp_path / "killed/log.txt").read_text()[-2000:]
    twice = {key: count - 1 for key, count in Counter(killed.paid).items() if count > 1}
    trial.record(kills=kills, requests=total, paid_twice=sum(twice.values()))
    assert set(killed.paid) == set(undisturbed.paid)
    assert sum(twice.values()) <= 2 * WORKERS * kills, "no more than what was in flight"
    assert killed.files() == undisturbed.files()


def test_recaption_interrupts(trial, tmp_path):
    """SIGINT of the whole session, as a terminal sends it: the run ends by itself, and the next one pays for nothing again."""
    run, dice = Recaptioning(tmp_path / "run"), random.Random(2)
    interrupts, waits = 0, []
    for goal in sorted(dice.sample(range(1, 3 * IMAGES), trial.count(10))):
        process = run.start()
        while len(run.paid) < goal and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is not None:
            break
        begin = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 75, (run.folder / "log.txt").read_text()[-2000:]
        waits.append(time.monotonic() - begin)
        wait_for_all(process.pid)
        interrupts += 1
    assert run.start().wait(600) == 0, (run.folder / "log.txt").read_text()[-2000:]
    trial.record(interrupts=interrupts, requests=len(run.paid), slowest_end_s=round(max(waits), 1))
    assert interrupts
    assert len(run.paid) == len(set(run.paid)), "nothing is paid twice"
