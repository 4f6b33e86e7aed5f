"""What an executor is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from finevit.recaption.work import Outcome, Task


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


def failed(task: Task, error: BaseException | str) -> Outcome:
    """The outcome of a task that raised."""
    from finevit.engine.cli import is_ours

    told = str(error) if isinstance(error, ValueError | str) and (isinstance(error, str) or is_ours(error)) else ""
    return Outcome(task.name, task.shard, "failed", told or f"{type(error).__name__}: {error}")
