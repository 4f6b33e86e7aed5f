"""A run's work dir: one run at a time, and what an earlier one left is moved aside where it is not gone on from."""

import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from finevit.engine.hooks.checkpoint_hook import folders_of
from finevit.engine.launch import SETS
from finevit.engine.newest_checkpoint import PLACE, TEMPLATES, numbered_files
from finevit.storage.durable import DIGEST, UNFINISHED, make_folder

NAME = ".in_use"
"""The locked file; it says who holds the lock, or did last. It stays: the lock counts, which ends with the process."""


@contextmanager
def in_use(folders: Iterable[Path], launcher: str, environment: Mapping[str, str] = os.environ) -> Iterator[list[str]]:
    """Holds the folders of a run, on rank 0; yields what could not be locked, for people.

    ``ValueError`` where another run holds one of them. Workers that outlive a killed run hold nothing.
    """
    rank = environment.get(SETS[launcher][0], "0") if launcher in SETS else "0"
    if rank != "0":
        yield []
        return
    with ExitStack() as locks:
        yield [told for folder in dict.fromkeys(each.resolve() for each in folders) if (told := _lock(folder, locks))]


def _lock(folder: Path, locks: ExitStack) -> str:
    path = folder / NAME
    try:
        make_folder(folder)
        locks.enter_context(FileLock(path, timeout=0, fallback_to_soft=False))
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
    except Timeout:
        raise ValueError(
            f"work_dir: another run uses {str(folder)!r}: {_holder(path)}. Wait for it, stop it, or give another --work-dir"
        ) from None
    except OSError as error:
        return f"{folder} cannot be locked ({error.strerror or error}): see to it that no other run uses it at the same time"
    return ""


def _holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:200] or "a process that has just begun"
    except OSError:
        return "an unknown process"


TESTS = "test_logs"
"""Where ``finevit test`` leaves MMEngine's files, so that the config of a run stays beside its checkpoints."""
LEFT = (
    *("iter_*.pth", "epoch_*.pth", "best_*.pth", "last_checkpoint"),
    *("results.json", "report.html", "report_before.pt", "plan_check.json", "bad_samples*.txt", "nonfinite_steps.txt"),
    TESTS,
)
"""What runs and tests leave in a work dir, beside a folder for each start. A plan was made for the run that comes; it stays."""
START = re.compile(r"\d{8}_\d{6}")


class EarlierRunHook(Hook):
    """Moves what an earlier run left in the work dir into ``before_<start of this run>`` there, and says so.

    That is once the data is open and the weights are loaded, which may be those of the earlier run. A run that goes on, from a
    checkpoint of its work dir, leaves all as it is but later checkpoints, which are damaged or were not wanted. What a run that was
    killed had not finished writing is removed. ``finevit train`` gives the hook to every run.
    """

    priority = "HIGHEST"

    def before_train(self, runner: Runner) -> None:
        folders = list(dict.fromkeys(folder.resolve() for folder in (Path(runner.work_dir), *_checkpoint_folders(runner))))
        begun = runner._load_from and Path(runner._load_from).resolve()
        goes_on = runner._resume and runner._has_loaded and (not begun or begun.parent in folders)
        for folder in folders if is_main_process() else ():
            _clear(runner, folder)
            if goes_on:
                self._move(runner, folder, _later(runner, folder), "checkpoints later than that which this run goes on from")
            else:
                self._move(runner, folder, _left(runner, folder), "files of an earlier run")
        if begun and not goes_on and (moved := begun.parent / _aside(runner) / begun.name).exists():
            runner.cfg.load_from = str(moved)  # checkpoints say where their run began
        barrier()

    @staticmethod
    def _move(runner: Runner, folder: Path, paths: Iterable[Path], what: str) -> None:
        aside, found = folder / _aside(runner), sorted(set(paths))
        for path in found:
            aside.mkdir(exist_ok=True)
            for each in (path, path.with_name(path.name + DIGEST)):
                if each.exists():
                    each.rename(aside / each.name)
        if found:
            names = ", ".join(path.name for path in found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
            runner.logger.warning(f"{folder} held {what}; they are now in {aside}: {names}")


def _aside(runner: Runner) -> str:
    return f"before_{runner.timestamp}"


def _checkpoint_hooks(runner: Runner) -> list[CheckpointHook]:
    return [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]


def _patterns(runner: Runner) -> list[str]:
    return [*LEFT, *(re.sub(PLACE, "*", hook.filename_tmpl) for hook in _checkpoint_hooks(runner) if hook.filename_tmpl)]


def _left(runner: Runner, folder: Path) -> Iterator[Path]:
    for pattern in _patterns(runner):
        yield from folder.glob(pattern)
    if (folder / "probes/results.json").exists():
        yield folder / "probes"
    for path in folder.iterdir() if folder.is_dir() else ():
        if START.fullmatch(path.name) and path.name != runner.timestamp:
            yield path


def _later(runner: Runner, folder: Path) -> Iterator[Path]:
    """Checkpoints of later steps, or epochs, than the run has reached."""
    by_name = {TEMPLATES[0]: runner.iter}
    by_name |= {hook.filename_tmpl: runner.epoch if hook.by_epoch else runner.iter for hook in _checkpoint_hooks(runner)}
    for template, reached in by_name.items():
        yield from (path for number, path in numbered_files(folder, template) if number > reached)


def _clear(runner: Runner, folder: Path) -> None:
    """Removes what was being written, and the SHA-256 of files that are gone."""
    for pattern in _patterns(runner):
        for path in folder.glob(f"{pattern}*{UNFINISHED}"):
            runner.logger.warning(f"removed {path} ({path.stat().st_size:,} bytes): a run was stopped while it wrote it")
            path.unlink()
        for path in folder.glob(pattern + DIGEST):
            if not path.with_name(path.name.removesuffix(DIGEST)).exists():
                path.unlink()


def _checkpoint_folders(runner: Runner) -> Iterator[Path]:
    return folders_of(runner.work_dir, (hook.out_dir for hook in _checkpoint_hooks(runner)))
