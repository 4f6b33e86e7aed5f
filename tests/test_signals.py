"""Signals as people and launchers send them: to processes of their own, which hold nothing but what listens."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finevit.engine.cli import user_errors
from finevit.signals import TOGETHER, Interrupted, raised

ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LISTENS = """
import hashlib, os, signal, sys, time
from finevit.signals import Asked, Interrupted, ignored_by_worker
asked = Asked()
with asked.listening():
    try:
        {body}
    except Interrupted as end:
        print("saved", flush=True)
        sys.exit(end.code)
"""
STEPS = """
        asked.saves = True
        for step in range(100):
            print("begins", step, flush=True)
            input()
            print("ends", step, flush=True)
            asked.raise_if_asked()
"""
DEAF = """
        asked.saves = True
        print("begins", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # as in an operation of torch: other threads run, and no handler does
"""
BEFORE = """
        print("begins", flush=True)
        time.sleep(60)
"""
WAITS = """
        asked.saves, asked.waits = True, lambda: True
        print("begins", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def start() -> Iterator[Callable]:
    """Starts a process that listens; it has begun its first step."""
    begun: list[subprocess.Popen] = []

    def start(body: str, *before: str) -> subprocess.Popen:
        run = subprocess.Popen(
            [*before, sys.executable, "-c", LISTENS.format(body=body.strip())],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(run)
        assert run.stdout.readline().startswith("begins")
        return run

    yield start
    for run in begun:
        run.kill()
        run.communicate()


def ended(run: subprocess.Popen, step: str = "") -> tuple[int, list[str], str]:
    """Exit status, and what was printed to both places; ``step`` ends a step that waits for it."""
    out, err = run.communicate(step, timeout=20)
    return run.returncode, out.splitlines(), err.strip()


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_one_ends_after_the_step_in_progress(start, number):
    run = start(STEPS)
    run.send_signal(number)
    told = f"{number.name}: ends after the step in progress, with a checkpoint; a second signal ends at once, without\n"
    assert run.stderr.readline() == told
    assert ended(run, "\n") == (128 + number, ["ends 0", "saved"], "")


def test_the_second_one_leaves_at_once_also_where_nothing_can_be_interrupted(start):
    run = start(DEAF)
    run.send_signal(signal.SIGTERM)
    assert run.stderr.readline().startswith("SIGTERM: ends after the step")
    run.send_signal(signal.SIGTERM)  # together with the first
    time.sleep(TOGETHER + 0.1)
    assert run.poll() is None
    run.send_signal(signal.SIGINT)
    code, out, err = ended(run)
    assert (code, out) == (143, [])
    assert err == "SIGINT again: ended at once; to go on from the newest checkpoint: the same command with --resume"


def test_before_the_first_step_there_is_nothing_to_save(start):
    run = start(BEFORE)
    run.send_signal(signal.SIGINT)
    assert ended(run) == (130, [], "SIGINT before the first step: there is nothing to save; the same command starts again")


def test_a_wait_between_two_steps_is_interrupted(start):
    run = start(WAITS)
    run.send_signal(signal.SIGTERM)
    code, out, _ = ended(run)
    assert (code, out) == (143, ["saved"])


@pytest.mark.parametrize(("shell", "ignored"), [("nohup", signal.SIGHUP), ('sh -c \'trap "" INT; exec "$@"\' sh', signal.SIGINT)])
def test_what_was_ignored_at_the_start_stays_ignored(start, shell, ignored):
    run = start(STEPS, *shlex.split(shell))
    run.send_signal(ignored)
    run.stdin.write("\n")
    run.stdin.flush()
    assert run.stdout.readline() == "ends 0\n"
    assert run.stdout.readline() == "begins 1\n"
    run.send_signal(signal.SIGTERM)
    while not (line := run.stderr.readline()).startswith("SIG"):  # nohup says what it does
        pass
    assert line.startswith("SIGTERM: ends after the step")
    assert ended(run, "\n") == (143, ["ends 1", "saved"], "")


CHILD = """
        asked.saves = True
        if not (child := os.fork()):
            asked.raise_if_asked()
            time.sleep(60)
        os.kill(child, {ignored})
        os.kill(child, {number})
        print("begins", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), asked.number, flush=True)
        os._exit(0)
"""


def test_what_is_forked_hears_signals_for_itself(start):
    run = start(CHILD.format(ignored="signal.SIGINT", number="signal.SIGTERM"))
    assert ended(run)[0] == 0


WORKER = """
        if not (child := os.fork()):
            ignored_by_worker()
            print("begins", os.getpid(), flush=True)
            time.sleep(60)
        input()
        os.kill(child, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        os._exit(0)
"""


def test_a_worker_is_ended_by_its_main_process_alone():
    run = subprocess.Popen(
        [sys.executable, "-c", LISTENS.format(body=WORKER.strip())],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        worker = int(run.stdout.readline().split()[1])
        for number in SIGNALS:  # as a terminal or a launcher sends them to the whole group
            os.kill(worker, number)
        time.sleep(0.1)
        os.kill(worker, 0)
        assert run.communicate("\n", timeout=20)[0] == "0\n"
    finally:
        run.kill()
        run.communicate()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_tool_ends_with_a_line_and_the_code_of_the_signal(number, capsys):
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(SystemExit) as ended, user_errors():
        signal.raise_signal(number)
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == f"\n{number.name}: ended before it was done\n"
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_the_outermost_that_listens_counts():
    with pytest.raises(Interrupted, match=str(int(signal.SIGTERM))) as caught, raised():
        listens_inside()
    assert (caught.value.name, caught.value.code) == ("SIGTERM", 143)


def listens_inside() -> None:
    with raised():
        pass
    signal.raise_signal(signal.SIGTERM)


def test_a_bare_except_does_not_hide_a_signal(capsys):
    with pytest.raises(SystemExit) as ended, user_errors():
        formats()
    assert ended.value.code == 143
    assert capsys.readouterr().err == "\nSIGTERM: ended before it was done\n"


def formats() -> None:
    """As MMEngine prints a config."""
    try:
        signal.raise_signal(signal.SIGTERM)
    except:  # noqa: E722
        raise SyntaxError("Failed to format the config file")  # noqa: B904
