"""A loader that yields nothing is told with worker and record, then ended; of a dead worker is told where no step is torn."""

import logging
import math
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.queues import Queue
from pathlib import Path
from traceback import walk_tb
from typing import Annotated, Any, NoReturn

from annotated_types import Gt, Le
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from finevit.datasets.worker_board import NONE, Board
from finevit.hub.locate import first_line
from finevit.registry import HOOKS
from finevit.signals import Stuck, ignored_by_worker, leave, tell

STATES = {
    "T": "stopped by a signal",
    "t": "held by a debugger",
    "D": "waiting for a disk or the network",
    "R": "computing",
    "Z": "dead",
}
MINUTES = 10.0
"""So long a loader may yield nothing, unless a config says otherwise."""
AGAIN = 5.0
"""Seconds after which the main thread is interrupted once more: what it was in, such as the end of an object, may swallow it."""
GRACE = 60.0
"""Seconds that the main process gets to end, where it reads the data itself and is stuck in a call that nothing interrupts."""
SHOWN = 4
"""So many workers are named."""


class _Loader:
    """A loader by its setting, and the board on which its workers write where they are."""

    def __init__(self, setting: str, loader: Any) -> None:
        self.setting, self.dataset = setting, getattr(loader, "dataset", None)
        self.workers: int = getattr(loader, "num_workers", 0)
        self.board = Board(self.workers)
        if self.workers and isinstance(loader, DataLoader):
            loader.worker_init_fn = partial(_begin, self.board, loader.worker_init_fn)

    def told(self) -> str:
        """Where the processes are that read for it, for people."""
        rows = self.board.rows()
        rows = [row for row in rows if row[2] != NONE] or rows
        each = [
            f"{'the main process' if worker == NONE else f'worker {worker}'} (pid {pid}, {_state(pid)}) "
            f"{'between two records' if record == NONE else f'at {self._name(record)}'} for {seconds:.0f} s"
            for worker, pid, record, seconds in sorted(rows, key=lambda row: -row[3])
        ]
        return "; ".join(each[:SHOWN]) + (f"; and {len(each) - SHOWN} more" if len(each) > SHOWN else "") or "no worker has begun"

    def _name(self, record: int) -> str:
        """The record with its file, where the source can tell it."""
        found: list[str] = []

        def look_up() -> None:
            with suppress(Exception):
                source: Any = self.dataset.source  # type: ignore[union-attr]
                if place := source.image_at(int(source.rows[record])):
                    found.append(f" ({str(place[0])!r})")

        looking = threading.Thread(target=look_up, daemon=True)  # the list of the data may be where nothing answers
        looking.start()
        looking.join(2)
        return f"record {record}{''.join(found)}"


@HOOKS.register_module()
class LoaderWatchHook(Hook):
    """Warns where a loader has yielded nothing for half of ``minutes``, and ends the run, with a checkpoint, when they are over.

    It says which workers are at which records. Where no worker reads (``num_workers=0``) the main process is interrupted; if it
    cannot be, it is ended a minute later. A worker that died is found between two steps, never in the middle of one.
    """

    priority = "HIGHEST"

    def __init__(self, *, minutes: Annotated[float, Gt(0), Le(math.inf), "minutes (inf: no limit)"] = MINUTES) -> None:
        self.minutes = minutes
        self.in_step = False
        self._wait: tuple[_Loader] | None = None
        self._overdue = ""
        self._loaders: dict[int, _Loader] = {}
        self._of_child: Any = None

    @property
    def waiting(self) -> bool:
        """Whether the main thread waits for a loader: between two steps, or between two batches of a validation."""
        return self._wait is not None

    def before_train_epoch(self, runner: Runner) -> None:
        self.wait(runner, "train")

    def before_val_epoch(self, runner: Runner) -> None:
        self.wait(runner, "val")

    def before_test_epoch(self, runner: Runner) -> None:
        self.wait(runner, "test")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.came()
        self.in_step = True

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.came()

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.came()

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if batch_idx + 1 < len(runner.val_dataloader):
            self.wait(runner, "val")

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if batch_idx + 1 < len(runner.test_dataloader):
            self.wait(runner, "test")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.came()

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.came()

    def after_train(self, runner: Runner) -> None:
        self.came()

    def wait(self, runner: Runner, which: str) -> None:
        """From now on the main thread waits for the loader of ``which``; a worker that died meanwhile raises ``RuntimeError``."""
        self.wait_for(getattr(runner, f"{which}_dataloader"), f"{which}_dataloader")

    def wait_for(self, loader: Any, setting: str) -> None:
        """The same, of a loader."""
        if not self._loaders:
            self._start()
        watched = self._loaders.setdefault(id(loader), _Loader(setting, loader))
        if not watched.workers:
            watched.board.sit()
        self._wait = (watched,)
        if callable(self._of_child) and _in_main_thread():
            self._child(signal.SIGCHLD, None)

    def came(self) -> None:
        """The batch is here: until the next wait nothing is interrupted, and no death of a worker told."""
        if self._wait and _in_main_thread():
            before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._of_child = self._of_child if before == self._child else before
        self._wait = None

    def _child(self, *arguments: Any) -> None:
        """Has torch raise where a worker died, once: others that die meanwhile must not break off what is made of the first."""
        try:
            for handler in (signal.SIG_DFL, self._child):  # the second time of one that died during the first
                signal.signal(signal.SIGCHLD, handler)
                self._of_child(*arguments)
        except BaseException:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            raise

    def whose(self, pid: int) -> str:
        """The worker of a process id, for people."""
        for loader in self._loaders.values():
            for worker, found, *_ in loader.board.rows():
                if found == pid:
                    return f"worker {worker} of {loader.setting}"
        return "a worker of a loader"

    def _start(self) -> None:
        if _in_main_thread():
            signal.signal(signal.SIGALRM, self._end)
        threading.Thread(target=self._watch, name="loaders", daemon=True).start()

    def _watch(self) -> None:
        """Counts ticks: a process that was stopped as a whole, as by Ctrl-Z, has not waited meanwhile."""
        limit = 60 * self.minutes
        tick, seconds, warned, due = min(1.0, limit / 20), 0.0, False, limit
        wait: object = None
        while True:
            time.sleep(tick)
            if wait is not (wait := self._wait) or wait is None:
                seconds, warned, due, self._overdue = 0.0, False, limit, ""
                continue
            seconds += tick
            if seconds > limit + GRACE:
                leave(2, f"error: {self._overdue}; the main process cannot be interrupted, so nothing was saved")
            if seconds > limit and not self._overdue:
                self._overdue = f"{self._told(seconds)}; LoaderWatchHook.minutes={self.minutes:g} are over"
            if seconds > due:
                due = seconds + AGAIN
                signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)  # type: ignore[arg-type]
            elif limit > seconds > limit / 2 and not warned:
                warned = True
                left = f"the run ends in {limit - seconds:.0f} s more (LoaderWatchHook.minutes={self.minutes:g})"
                print_log(f"{self._told(seconds)}; {left}", logger="current", level=logging.WARNING)

    def _told(self, seconds: float) -> str:
        wait = self._wait
        return f"{wait[0].setting} has yielded nothing for {seconds:.0f} s: {wait[0].told()}" if wait else ""

    def _end(self, *_: object) -> None:
        """Called in the main thread."""
        if self._wait and self._overdue:
            raise Stuck(self._overdue)


def watch_of(runner: Runner) -> LoaderWatchHook:
    """The run's own, or one that it gets."""
    own = next((hook for hook in runner.hooks if isinstance(hook, LoaderWatchHook)), None)
    if own is None:
        runner.register_hook(own := LoaderWatchHook())
    return own


def watched(loader: DataLoader, setting: str) -> Iterator[Any]:
    """The batches of a loader that belongs to no run, under the same watch."""
    watch = LoaderWatchHook(minutes=MINUTES)
    try:
        watch.wait_for(loader, setting)
        for batch in loader:
            watch.came()
            yield batch
            watch.wait_for(loader, setting)
    finally:
        watch.came()


TIMED_OUT = re.compile(r"DataLoader timed out after (\S+) seconds")
DIED = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? (?P<pid>\d+)[\d, ]*\) (?P<how>exited unexpectedly|is killed by signal: [^.]*)"
)


SHARED = re.compile(r"</torch_[^>]*>[^\n]*(?:No space left|Cannot allocate)")
_MultiProcessingDataLoaderIter._shutdown = True  # of one that could not be made, which torch would end all the same


def died(error: BaseException, watch: LoaderWatchHook | None = None) -> str:
    """Which worker died and how, for people, where torch says so; "" of any other error."""
    if isinstance(error, RuntimeError) and SHARED.search(str(error)):
        remedy = "give fewer num_workers, a smaller batch_size or prefetch_factor, or num_workers=0"
        return f"a worker of a loader found no room in shared memory (df -h /dev/shm): {remedy}"
    if isinstance(error, RuntimeError) and (late := TIMED_OUT.match(str(error))):
        return f"no batch came within a dataloader's timeout={late[1]} seconds; give more, or timeout=0 to wait for it"
    said = str(error) if isinstance(error, RuntimeError) else _lost(error)
    found = DIED.match(said)
    if not found:
        return ""
    who = watch.whose(int(found["pid"])) if watch else "a worker of a loader"
    memory = "Killed" in found["how"] or "Bus error" in found["how"] or "unexpectedly" in found["how"]
    remedy = "num_workers=0 shows where"
    if memory:
        seen = "mostly for want of memory (free -h; df -h /dev/shm; dmesg)"
        remedy = f"{seen}: give fewer num_workers, a smaller batch_size or prefetch_factor"
    return f"{who} (pid {found['pid']}) {found['how'].strip()}; {remedy}"


def _lost(error: BaseException) -> str:
    """In torch's words, which worker died while it handed on a batch: its connection breaks before torch hears of its end."""
    reads = _MultiProcessingDataLoaderIter._try_get_data.__code__
    frames = [frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code is reads]
    if not (isinstance(error, ConnectionError | EOFError) and frames):
        return ""
    if _in_main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where torch would raise of the same death
    workers = frames[-1].f_locals["self"]._workers
    ended = wait([worker.sentinel for worker in workers], timeout=5)
    for worker in workers:
        if worker.sentinel in ended:
            worker.join()  # its connections close a moment before
            killed = worker.exitcode < 0
            how = f"is killed by signal: {signal.strsignal(-worker.exitcode)}" if killed else "exited unexpectedly"
            return f"DataLoader worker (pid {worker.pid}) {how}"
    return ""


def _begin(board: Board, inner: Callable[[int], object] | None, worker: int) -> None:
    """The first that a worker does."""
    ignored_by_worker()
    setattr(Queue, "_on_queue_feeder_error", staticmethod(_unsent))  # noqa: B010  of no stub
    board.sit(worker)
    if inner:
        inner(worker)


def _unsent(error: Exception, item: object) -> NoReturn:
    """What a worker has read and cannot hand on, mostly for want of shared memory, would be waited for: the worker ends."""
    tell(f"a worker cannot hand on what it has read ({first_line(error)})")
    os._exit(1)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _state(pid: int) -> str:
    """What the system says of a process."""
    with suppress(OSError, IndexError):
        return STATES.get(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0], "waiting")
    return "gone"
