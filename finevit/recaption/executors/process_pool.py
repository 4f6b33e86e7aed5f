"""Processes of this machine: the default."""

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection

from pydantic import PositiveInt

from finevit.recaption.executors.base import Executor, failed
from finevit.recaption.work import Outcome, Task, work
from finevit.registry import EXECUTORS
from finevit.signals import ignored_by_worker

DEATHS = 3
"""So often a task may be in a pool when a process of it dies, before it counts as failed."""

PRELOADED = ["finevit.recaption.work", "finevit.recaption.passes.index"]
"""What all processes need and takes long to import."""


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
        """As they are done. Where a process dies, a new pool goes on with what is not done."""
        deaths, left = Counter[str](), list(tasks)
        while left:
            futures = {self._submit(task): task for task in left}
            left = []
            for future in _completed(futures):
                task = futures[future]
                try:
                    yield future.result()
                except BrokenProcessPool:
                    self.close()
                    deaths[task.shard] += 1
                    if deaths[task.shard] < DEATHS:
                        left.append(task)
                    else:
                        yield failed(task, f"a process that worked on it died {DEATHS} times, the last time without a word")
                except Exception as error:
                    yield failed(task, error)

    def _submit(self, task: Task) -> Future[Outcome]:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(PRELOADED)
            self._pool = ProcessPoolExecutor(self.workers, context, initializer=_begin)
        try:
            return self._pool.submit(work, task)
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


def _completed(futures: dict[Future[Outcome], Task]) -> Iterator[Future[Outcome]]:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        yield from done


def _begin() -> None:
    """In a new process: signals of the terminal are for the main process, with which this one ends."""
    ignored_by_worker()
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_end_with, args=(parent.sentinel,), name="parent", daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
