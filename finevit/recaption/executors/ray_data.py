"""Ray Data, a shard a row: on this machine, or on a cluster by its address. Work dir and data lie on a disk that all nodes see."""

import logging
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from annotated_types import Gt
from pydantic import PositiveInt

from finevit.recaption.executors.base import Executor, attempt
from finevit.recaption.work import Outcome, Task
from finevit.registry import EXECUTORS


@EXECUTORS.register_module()
class RayData(Executor):
    """Tasks are rows of a Ray dataset; pixels and tables never go through Ray's object store.

    Args:
        address: of a cluster (``auto``, ``ray://HOST:10001``); None starts Ray in this machine for the run.
        cpus: of a task; below 1, several share a core.
        gpus: of a task.
        at_once: most tasks at the same time; None: what the cluster has room for.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        cpus: Annotated[float, Gt(0)] = 1.0,
        gpus: Annotated[float, Gt(-1)] = 0.0,
        at_once: PositiveInt | None = None,
    ) -> None:
        self.address, self.cpus, self.gpus, self.at_once = address, cpus, gpus, at_once
        self._started = False

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """As they are done. Ray runs a task again whose process or node died."""
        import ray

        self._start()
        rows = [{"task": task._asdict()} for task in tasks]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        done = data.map(_work, num_cpus=self.cpus, num_gpus=self.gpus or None, concurrency=self.at_once)
        for row in done.iter_rows():
            yield Outcome(**row)

    def _start(self) -> None:
        import ray

        if not ray.is_initialized():
            ray.init(address=self.address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            self._started = True
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.verbose_progress = False

    def close(self) -> None:
        """Ends Ray where the run started it."""
        import ray

        if self._started:
            ray.shutdown()
            self._started = False

    def describe(self) -> str:
        """One line for people."""
        return f"Ray Data {'at ' + self.address if self.address else 'on this machine'}, {self.cpus:g} cores a task"


def _work(row: dict[str, Any]) -> dict[str, Any]:
    task = Task(**{**row["task"], "paths": tuple(row["task"]["paths"])})
    return attempt(task)._asdict()
