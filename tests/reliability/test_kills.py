"""Kills and signals at any moment of a run: what is resumed equals a run that was never stopped, to the bit."""

import math
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import small
from broken_runs import MOMENTS, ROOT, Forks, Line, finished, moment, printed, saved, trail
from power import wait_for

LINES = ((1, 1), (2, 2), (3, 1), (1, 2), (2, 1), (3, 2))
"""Stages, and how many steps their gradients are accumulated over."""


def lines(forks: Forks, folder: Path, attempts: int) -> Iterator[Line]:
    """One line for each attempt."""
    made: dict[tuple[int, int], Line] = {}
    for n in range(attempts):
        stage, accumulates = LINES[n % (3 if n < 10 else 6)]
        if (stage, accumulates) not in made:
            made[stage, accumulates] = Line(forks, folder, stage, accumulates)
        yield made[stage, accumulates]


def kinds(chance: random.Random, attempts: int) -> list[str]:
    """Of each attempt the kind of moment: all of them, again and again."""
    rounds = math.ceil(attempts / len(MOMENTS))
    return [kind for _ in range(rounds) for kind in chance.sample(list(MOMENTS), len(MOMENTS))][:attempts]


def ended(used: Iterable[Line]) -> int:
    """Lets each line come to its end; how many runs equalled whole ones."""
    for line in used:
        line.end()
    return sum(line.compared for line in used)


def test_kills(trial, forks, tmp_path):
    """SIGKILL."""
    chance, kills, torn, used = random.Random(0), trial.count(50), 0, {}
    moments = kinds(chance, kills)
    for kind, line in zip(moments, lines(forks, tmp_path, kills), strict=True):
        assert line.break_off(chance, kind, signal.SIGKILL) == -signal.SIGKILL
        torn += any(line.broken.glob("*.unfinished"))
        used[line] = True
        print(f"stage {line.stage}, {kind}: {trail(line.broken)[-2]}", flush=True)
    identical = ended(used)
    trial.record(kills=kills, with_a_file_half_written=torn, identical_runs=identical, moments=dict(Counter(moments)))
    assert identical >= len(used)


def test_signals(trial, forks, tmp_path):
    """SIGTERM, SIGINT and SIGHUP: the run says what is saved, and no finished step is lost."""
    chance, attempts, lost, told, used = random.Random(1), trial.count(20), 0, Counter(), {}
    moments = kinds(chance, attempts)
    for kind, line in zip(moments, lines(forks, tmp_path, attempts), strict=True):
        number = chance.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        status, text = line.break_off(chance, kind, number), printed(line.broken)
        assert status == 128 + number or (status == -number and "trained to step 8 of 8" in text), (status, text)
        said = re.findall(rf"{number.name}.*?: (saved step \d+ of 8|no step was finished|.*there is nothing to save)", text)
        assert said or status == -number, text
        assert "Traceback" not in text
        assert not list(line.broken.glob("*.unfinished"))
        lost += max(0, finished(line.broken) - saved(line.broken))
        told[number.name] += 1
        used[line] = True
        print(f"stage {line.stage}, {kind}: {number.name}: {said}", flush=True)
    identical = ended(used)
    trial.record(signals=dict(told), steps_lost=lost, identical_runs=identical, moments=dict(Counter(moments)))
    assert lost == 0
    assert identical >= len(used)


def test_second_signals(trial, forks, tmp_path):
    """One that comes while the first has the run saved ends it at once; what was half written is no harm."""
    line, attempts, codes = Line(forks, tmp_path, 1, 1), trial.count(4), Counter()
    for n in range(attempts):
        first, second = ((signal.SIGTERM, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM))[n % 2]
        files = (r"open .*iter_\d+\.pth\.unfinished", r"os.rename .*iter_\d+\.pth$", "last_checkpoint", "report.html")
        moments = [moment("hook after_train(_iter)?$", first, nth=8 if n == 3 else 1), moment(files[n], second, late=0.5)]
        status = forks.train(line.configs[n % 2], line.broken, "--resume", moments=moments)
        assert status == 128 + first, printed(line.broken)
        assert f"{second.name} again: ended at once" in printed(line.broken)
        codes[status] += 1
    trial.record(attempts=attempts, exit_codes={str(code): count for code, count in codes.items()}, identical_runs=ended([line]))


def test_a_process_of_its_own(trial, tmp_path):
    """Without the fork: a signal at the start leaves nothing half done; under ``nohup`` a SIGHUP does nothing."""
    config, work_dir, codes = small.write(tmp_path, 1, steps=5000), tmp_path / "run", []
    command = [sys.executable, str(ROOT / "tools/train.py"), str(config), "--work-dir", str(work_dir)]
    for seconds in (3.0, 0.3, 1.0, 0.1)[: trial.count(4)]:
        early = subprocess.run(["timeout", "--preserve-status", str(seconds), *command], capture_output=True, text=True, cwd=ROOT)
        codes.append(early.returncode)
        assert codes[-1] in (-signal.SIGTERM, 128 + signal.SIGTERM), early.stderr
        assert "Traceback" not in early.stderr
        assert not list(work_dir.glob("*.unfinished"))
    with (tmp_path / "run.log").open("wb") as log:
        run = subprocess.Popen(["nohup", *command], stdout=log, stderr=log, cwd=ROOT)
    wait_for(lambda: finished(work_dir) >= 2 or run.poll() is not None, 120)
    run.send_signal(signal.SIGHUP)
    at = finished(work_dir)
    wait_for(lambda: finished(work_dir) > at + 1 or run.poll() is not None, 60)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 128 + signal.SIGTERM, printed(work_dir)
    assert "SIGHUP" not in printed(work_dir)
    assert finished(work_dir) == saved(work_dir)
    trial.record(early_exits=codes, steps_under_nohup=saved(work_dir))
