"""Odd values and torn files in every kind of set: a named error or a counted entry, never an error from within, never a hang."""

import os
import random
import re
import shutil
import signal
import time
import traceback
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mutations import mutated
from sets import KINDS, PICTURE, sampled, write

MOST = 20
"""Seconds that a set of a few entries may take."""
INNER = re.compile(
    r"(?<!\(OS)(?<!\(Syntax)Error\b|Traceback|object is not|has no attribute|unhashable|unsupported operand|indices must be|"
    r"not subscriptable|argument (must|should) be|not supported between|expected str|expected string|required argument|unpack|"
    r"cannot convert"
)
"""What only those understand who know the code; what Pillow says of an image is Pillow's."""


class Hang(BaseException):
    """No set is read for so long."""


@contextmanager
def within(seconds: int):
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fault_of(name: str, root: Path) -> str:
    """What is wrong with how a set answers; empty where it is right."""
    kind = KINDS[name]
    try:
        with within(MOST):
            said = sampled(kind, root)
    except ValueError as error:
        said, names = [str(error)], {str(root), *(Path(file).name for file in kind.files)}
        inner = traceback.extract_tb(error.__traceback__)[-1].filename
        if "/finevit/" not in inner:
            return f"ValueError out of {Path(inner).name}: {str(error)[:300]}"
        if not any(each in said[0] for each in names):
            return f"names no file: {said[0][:300]}"
    except Hang:
        return "hangs"
    except Exception as error:
        inner = traceback.extract_tb(error.__traceback__)
        ours = next((frame for frame in reversed(inner) if "/finevit/" in frame.filename), inner[-1])
        return f"{type(error).__name__} at {Path(ours.filename).name}:{ours.lineno}: {str(error)[:300]}"
    strange = next((line for line in said if INNER.search(line)), "")
    return f"unclear: {strange[:400]}" if strange else ""


def attempt(seed: int, root: Path) -> tuple[str, str]:
    """A kind of set, and what is wrong with how it answers to one file with a fault."""
    chance = random.Random(seed)
    name = list(KINDS)[seed % len(KINDS)]
    files = dict(KINDS[name].files)
    odd = chance.choice([file for file, content in files.items() if content is not PICTURE] or list(files))
    files[odd] = mutated(files[odd], chance)
    try:
        write(root, files)
        return f"{name}, {odd}", fault_of(name, root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def nobody():
    """As a user who may read nothing that is closed."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def closed_fault(name: str, target: str, root: Path) -> str:
    """What is wrong with how a set answers where a file or folder of it may not be read."""
    kind, said = KINDS[name], [""]
    write(root, kind.files)
    (root / target).chmod(0)
    with nobody():
        fault = fault_of(name, root)
        with suppress(ValueError):
            said = sampled(kind, root)
    (root / target).chmod(0o755)
    named = any(Path(target).name in line for line in said)
    if fault or named or said == [""]:
        return fault
    (root / target).unlink()
    return "" if len(said) == len(sampled(kind, root)) else "silent"  # a file that no sample needs may go without a word


def test_closed_sets(trial, monkeypatch):
    with TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "cache").mkdir()
        (root / "cache").chmod(0o777)
        monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        closed = [
            (name, target)
            for name, kind in KINDS.items()
            for target in sorted({*kind.files, *(str(Path(file).parent) for file in kind.files)} - {"."})
        ]
        closed = closed[:: len(closed) // trial.count(len(closed))]
        write(root / "whole", KINDS["karpathy"].files)
        sampled(KINDS["karpathy"], root / "whole")  # what is imported and cached once is, before anything is closed
        told = {f"{name}, {target}": closed_fault(name, target, root / f"{n}") for n, (name, target) in enumerate(closed)}
        trial.record(closed=len(closed), faults=sum(map(bool, told.values())))
        assert not any(told.values()), "\n".join(f"{where}: {fault}" for where, fault in told.items() if fault)


def test_mutated_sets(trial, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, kind in KINDS.items():
        write(tmp_path / name, kind.files)
        assert len(sampled(kind, tmp_path / name)) <= 6, name  # whole: descriptions alone
    faults, slowest, sets = Counter[str](), 0.0, trial.count(10_000)
    told = dict[str, str]()
    for seed in range(10_000, 10_000 + sets):
        begin = time.monotonic()
        where, fault = attempt(seed, tmp_path / f"{seed}")
        slowest = max(slowest, time.monotonic() - begin)
        if fault:
            faults[fault.split(":")[0]] += 1
            told[f"seed {seed}, {where}"] = fault
    trial.record(sets=sets, kinds=len(KINDS), faults=sum(faults.values()), slowest_s=round(slowest, 1))
    assert not told, "\n".join(f"{where}: {fault}" for where, fault in told.items())
