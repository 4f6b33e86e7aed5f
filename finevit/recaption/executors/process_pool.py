"""Processes of this machine: the default."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection

from pydantic import PositiveInt

from finevit.recaption.executors.base import Executor, attempt, failed
from finevit.recaption.work import Outcome, Task
from finevit.registry import EXECUTORS
from finevit.signals import ignored_by_worker

DEATHS = 3
"""So often the process of a task may die before the task counts as failed."""


@EXECUTORS.register_module()
class ProcessPool(Executor):
    """A pool of processes, which end with the main process, whatever ends it.

    Args:
        workers: processes; None: as many as there are cores.
    """

    def __init__(self, *, workers: PositiveInt | None = None) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """As they are done. Where a process dies, what it worked on is tried again, alone, so that the guilty task is known."""
        suspects: list[Task] = []
        for task, outcome in self._together(tasks, at_once=self.workers):
            if outcome:
                yield outcome
            else:
                suspects.append(task)
        for task in suspects:
            yield next(
                (outcome for _ in range(1, DEATHS) for _, outcome in self._together([task], at_once=1) if outcome), _dead(task)
            )

    def _together(self, tasks: Sequence[Task], *, at_once: int) -> Iterator[tuple[Task, Outcome | None]]:
        """Each task with its outcome; None of those that were in work when a process died, with whom all others of the pool end."""
        waiting, working = deque(tasks), dict[Future[Outcome], Task]()
        while waiting or working:
            while waiting and len(working) < at_once:
                working[self._submit(waiting[0])] = waiting[0]
                waiting.popleft()
            done, _ = wait(working, return_when=FIRST_COMPLETED)
            for future in done:
                task = working.pop(future)
                try:
                    yield task, future.result()
                except BrokenProcessPool:
                    self.close()
                    yield task, None

    def _submit(self, task: Task) -> Future[Outcome]:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["finevit.recaption.preloaded"])
            self._pool = ProcessPoolExecutor(self.workers, context, initializer=_begin)
        try:
            return self._pool.submit(attempt, task)
        except BrokenProcessPool as error:
            lost: Future[Outcome] = Future()
            lost.set_exception(error)
            return lost

    def close(self) -> None:
        """Ends the processes."""
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def describe(self) -> str:
        """One line for people."""
        return f"{self.workers} processes of this machine"


def _dead(task: Task) -> Outcome:
    return failed(task, f"the process that worked on it died {DEATHS} times, without a word")


def _begin() -> None:
    """In a new process: signals of the terminal are for the main process, with which this one ends."""
    ignored_by_worker()
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_end_with, args=(parent.sentinel,), name="parent", daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
