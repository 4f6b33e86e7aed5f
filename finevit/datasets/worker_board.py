"""What a loader's processes are at, on a board that they share, and how a worker died: so that the watch can tell it."""

import multiprocessing.connection
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from traceback import walk_tb
from typing import Any, NoReturn

import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from finevit.hub.locate import first_line
from finevit.signals import ignored_by_worker, in_main_thread, tell

STATES = {
    "T": "stopped by a signal",
    "t": "held by a debugger",
    "D": "waiting for a disk or the network",
    "R": "computing",
    "Z": "dead",
}
SHOWN = 4
"""So many workers are named."""
TIMED_OUT = re.compile(r"DataLoader timed out after (\S+) seconds")
DIED = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? (?P<pid>\d+)[\d, ]*\) (?P<how>exited unexpectedly|is killed by signal: [^.]*)"
)
SHARED = re.compile(r"</torch_[^>]*>[^\n]*(?:No space left|Cannot allocate)")
_MultiProcessingDataLoaderIter._shutdown = True  # of one that could not be made, which torch would end all the same

_PID, _RECORD, _SINCE = range(3)
NONE = -1


class Board:
    """A row for each worker, and one for the main process, which reads where there are none: its id, its record, since when."""

    def __init__(self, workers: int) -> None:
        self._rows = torch.full((workers + 1, 3), NONE, dtype=torch.int64).share_memory_()

    def sit(self, worker: int = NONE) -> None:
        """From now on this process writes the row of a worker; without one, that of the main process."""
        global _row
        _row = self._rows[worker].numpy()
        _row[:] = os.getpid(), NONE, time.monotonic_ns()

    def rows(self) -> list[tuple[int, int, int, float]]:
        """Of each process that sat down: its worker (-1: the main process), process id, record (-1: none), and seconds since."""
        last, now = len(self._rows) - 1, time.monotonic_ns()
        found = enumerate(self._rows.tolist())
        return [(NONE if n == last else n, pid, record, (now - since) / 1e9) for n, (pid, record, since) in found if pid != NONE]


_row = Board(0)._rows[0].numpy()


def at(record: int = NONE) -> None:
    """This process begins with a record; -1: it is done with the last one."""
    _row[_SINCE] = time.monotonic_ns()
    _row[_RECORD] = record


class Watched:
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


def any_worker(pid: int) -> str:
    """Of a process id, where no loader is known."""
    return "a worker of a loader"


def died(error: BaseException, whose: Callable[[int], str] = any_worker) -> str:
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
    who = whose(int(found["pid"]))
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
    if in_main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where torch would raise of the same death
    workers = frames[-1].f_locals["self"]._workers
    ended = multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=5)
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


def _state(pid: int) -> str:
    """What the system says of a process."""
    with suppress(OSError, IndexError):
        return STATES.get(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0], "waiting")
    return "gone"
