"""A loader that yields nothing is told with worker and record, then ended; of a dead worker is told where no step is torn."""

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from typing import Annotated, Any

from annotated_types import Gt, Le
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from finevit.datasets.worker_board import Watched, any_worker
from finevit.registry import HOOKS
from finevit.signals import Stuck, in_main_thread, leave

MINUTES = 10.0
"""So long a loader may yield nothing, unless a config says otherwise."""
AGAIN = 5.0
"""Seconds after which the main thread is interrupted once more: what it was in, such as the end of an object, may swallow it."""
GRACE = 60.0
"""Seconds that the main process gets to end, where it reads the data itself and is stuck in a call that nothing interrupts."""


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
        self._wait: tuple[Watched] | None = None
        self._overdue = ""
        self._loaders: dict[int, Watched] = {}
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
        watched = self._loaders.setdefault(id(loader), Watched(setting, loader))
        if not watched.workers:
            watched.board.sit()
        self._wait = (watched,)
        if callable(self._of_child) and in_main_thread():
            self._child(signal.SIGCHLD, None)

    def came(self) -> None:
        """The batch is here: until the next wait nothing is interrupted, and no death of a worker told."""
        if self._wait and in_main_thread():
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
        return any_worker(pid)

    def _start(self) -> None:
        if in_main_thread():
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
