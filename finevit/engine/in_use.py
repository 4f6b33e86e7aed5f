"""A work dir belongs to one run at a time: two would overwrite each other's checkpoints."""

import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from finevit.durable import make_folder
from finevit.engine.launch import SETS

NAME = ".in_use"
"""The locked file; it says who holds the lock, or did last. It stays: the lock counts, which ends with the process."""


@contextmanager
def in_use(folders: Iterable[Path], launcher: str, environment: Mapping[str, str] = os.environ) -> Iterator[list[str]]:
    """Holds the folders of a run, on rank 0; yields what could not be locked, for people.

    ``ValueError`` where another run holds one of them. Workers that outlive a killed run hold nothing.
    """
    rank = environment.get(SETS[launcher][0], "0") if launcher in SETS else "0"
    if rank != "0":
        yield []
        return
    with ExitStack() as locks:
        yield [told for folder in dict.fromkeys(each.resolve() for each in folders) if (told := _lock(folder, locks))]


def _lock(folder: Path, locks: ExitStack) -> str:
    path = folder / NAME
    try:
        make_folder(folder)
        locks.enter_context(FileLock(path, timeout=0, fallback_to_soft=False))
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
    except Timeout:
        raise ValueError(
            f"work_dir: another run uses {str(folder)!r}: {_holder(path)}. Wait for it, stop it, or give another --work-dir"
        ) from None
    except OSError as error:
        return f"{folder} cannot be locked ({error.strerror or error}): see to it that no other run uses it at the same time"
    return ""


def _holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:200] or "a process that has just begun"
    except OSError:
        return "an unknown process"
