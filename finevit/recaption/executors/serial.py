"""One task after the other in this process: for small runs and for looking at errors."""

from collections.abc import Iterator, Sequence

from finevit.recaption.executors.base import Executor, attempt
from finevit.recaption.work import Outcome, Task
from finevit.registry import EXECUTORS


@EXECUTORS.register_module()
class Serial(Executor):
    """In this process."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """In the order of the tasks."""
        for task in tasks:
            yield attempt(task)

    def describe(self) -> str:
        """One line for people."""
        return "in this process"
