"""Which record each process of a loader is at, on a board that they share, so that one which is stuck can be told."""

import os
import time

import torch

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
