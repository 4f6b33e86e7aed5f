"""Places that are full, closed or read-only: named, with what to do about it; and the project's own cache."""

import errno
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from finevit.storage.durable import make_folder

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FAULTS = (
    *(*FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EEXIST, errno.ENOENT, errno.EMFILE, errno.ENFILE),
)
"""What the system says of a place, and not of this program."""
LEAST = 1 << 16
"""Bytes without which a file system counts as full."""


@contextmanager
def writing(place: str | Path, remedy: str = "give another place") -> Iterator[None]:
    """Around what is written to a place: ``ValueError`` names it where the system does not let it be written."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{place} cannot be written ({fault(error, known=str(place))}); {remedy_for(error, remedy)}") from error


class Spared:
    """What a run can do without: where it cannot be written, a warning says so once, and the run goes on."""

    def __init__(self, what: str) -> None:
        self.what, self._told = what, False

    @contextmanager
    def writing(self, logger: logging.Logger) -> Iterator[None]:
        """Around what is written."""
        try:
            yield
        except OSError as error:
            told, self._told = self._told, True  # before it is logged: the logger itself may write there
            if not told:
                logger.warning(f"{self.what} cannot be written ({fault(error)}); the run goes on without")


def fault(error: OSError, *, known: str = "") -> str:
    """What the system says, and of which file where that is told, unless it is ``known``."""
    return (error.strerror or str(error)) + (f": {error.filename}" if error.filename and str(error.filename) != known else "")


def full_place(paths: Iterable[str | Path]) -> str:
    """The first of some paths, there or not yet, on whose file system hardly any room is left; "" where all have room."""
    for path in map(Path, paths):
        with suppress(OSError, ValueError):
            folder = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
            room = os.statvfs(folder)
            if room.f_bavail * room.f_frsize < LEAST or (room.f_files and not room.f_favail):
                return str(path)
    return ""


def check_writable(folder: str | Path, *, setting: str = "work_dir", remedy: str = "give another with --work-dir") -> None:
    """Makes a folder that ``setting`` names; ``ValueError`` where a file in it cannot be written."""
    with writing(f"{setting}={str(folder)!r}", remedy):
        make_folder(Path(folder))
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(LEAST))
            file.flush()


def remedy_for(error: OSError, remedy: str) -> str:
    """What to do: of a full place, to free it as well."""
    return f"free space there, or {remedy}" if error.errno in FULL else remedy


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/finevit``, or ``~/.cache/finevit``; not necessarily there yet. ``OSError`` where there is no home.

    As the XDG specification asks, a relative path is ignored.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return Path(given) / "finevit"
    try:
        return Path.home() / ".cache" / "finevit"
    except RuntimeError:
        raise OSError(errno.ENOENT, "no home folder is known; set XDG_CACHE_HOME") from None
