"""An array of Slurm jobs, or processes where there is no Slurm, by submitit. Work dir and data lie on a disk that all nodes see."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt

from finevit.recaption.executors.base import Executor, attempt, failed
from finevit.recaption.work import STOP, Outcome, Task
from finevit.registry import EXECUTORS

DEATHS = 3
"""So often the job of a task may die before the task counts as failed."""
POLL_S = 1.0
"""Seconds between two looks at the jobs."""


@EXECUTORS.register_module()
class SlurmArray(Executor):
    """Each pass is an array of jobs, each job some shards one after the other.

    A job that dies is noticed where the cluster keeps accounts (``sacct``).

    Args:
        cluster: ``slurm``, or ``local`` for processes of this machine.
        shards_per_job: shards of one job; a cluster's largest array (``MaxArraySize``, often 1001) bounds the jobs of a pass.
        at_once: most jobs of the array at the same time.
        minutes: time limit of a job. One that passes it goes on from its journal as another job.
        parameters: what submitit's ``update_parameters`` takes besides, such as ``dict(slurm_partition="gpu", gpus_per_node=1)``.
    """

    def __init__(
        self,
        *,
        cluster: Literal["slurm", "local"] = "slurm",
        shards_per_job: PositiveInt = 1,
        at_once: PositiveInt = 64,
        minutes: PositiveInt = 240,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.cluster, self.shards_per_job, self.at_once, self.minutes = cluster, shards_per_job, at_once, minutes
        self.parameters = dict(parameters or {})
        self._jobs: list[Any] = []

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """As jobs end. The shards of a job that died are given to another."""
        deaths, left = Counter[str](), list(tasks)
        while left:
            parts = [tuple(left[first : first + self.shards_per_job]) for first in range(0, len(left), self.shards_per_job)]
            left = []
            for part, outcomes, error in self._array(parts):
                known = {outcome.shard for outcome in outcomes}
                yield from outcomes
                for task in [task for task in part if task.shard not in known]:
                    deaths[task.shard] += 1
                    if (Path(task.work_dir) / STOP).exists():
                        yield Outcome(task.name, task.shard, "stopped")
                    elif deaths[task.shard] < DEATHS:
                        left.append(task)
                    else:
                        yield failed(task, f"its job died {DEATHS} times, the last time of: {error}")

    def _array(self, parts: list[tuple[Task, ...]]) -> Iterator[tuple[tuple[Task, ...], list[Outcome], str]]:
        """Each part with the outcomes that its job told, and how the job died where it did."""
        from submitit import AutoExecutor

        logging.getLogger("submitit").setLevel(logging.ERROR)  # it warns at each look where Slurm keeps no accounts
        executor = AutoExecutor(folder=Path(parts[0][0].work_dir) / "jobs", cluster=self.cluster)
        name = f"recaption-{parts[0][0].name}"
        executor.update_parameters(timeout_min=self.minutes, slurm_array_parallelism=self.at_once, name=name, **self.parameters)
        self._jobs = waiting = list(executor.map_array(work_all, parts))
        of = dict(zip(map(id, waiting), parts, strict=True))
        while waiting:
            for job in [job for job in waiting if job.done()]:
                waiting = [other for other in waiting if other is not job]
                error = job.exception()
                yield of[id(job)], [] if error else job.result(), str(error).strip().splitlines()[-1] if error else ""
            time.sleep(POLL_S)

    def close(self) -> None:
        """Cancels what has not ended."""
        for job in self._jobs:
            if not job.done():
                job.cancel()

    def describe(self) -> str:
        """One line for people."""
        return f"arrays of {'Slurm jobs' if self.cluster == 'slurm' else 'processes (submitit)'}, at most {self.at_once} at once"


def work_all(tasks: Sequence[Task]) -> list[Outcome]:
    """The outcomes of a job's tasks."""
    return [attempt(task) for task in tasks]
