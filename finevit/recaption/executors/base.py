"""What an executor is."""

import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from finevit.engine.cli import is_ours
from finevit.recaption.work import Outcome, Task, work


class Executor(ABC):
    """Runs :func:`finevit.recaption.work.work` on tasks, which do not depend on each other, in any order.

    A task whose process dies is run again a few times, and then is an outcome that says ``failed``: the others go on.
    """

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """The outcome of each task, as they come."""

    @abstractmethod
    def describe(self) -> str:
        """One line for people."""

    def close(self) -> None:  # noqa: B027
        """Ends what was started for the run."""


def attempt(task: Task) -> Outcome:
    """The outcome of a task, also where it raised: called in the process that does the work."""
    try:
        return work(task)
    except Exception as error:
        ours = isinstance(error, ValueError) and is_ours(error)
        told = str(error) if ours else "".join(traceback.format_exception(error))
        return failed(task, told)


def failed(task: Task, error: str) -> Outcome:
    """The outcome of a task that cannot be done."""
    return Outcome(task.name, task.shard, "failed", error)
