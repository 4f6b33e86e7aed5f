"""Regular files alone: a pipe, a device or a socket that is called like a file is neither waited for nor read without end.

What is no regular file is an ``OSError`` whose ``strerror`` says what it is, so that whoever tells people of a file that cannot
be read tells them of this one as well.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
_AT_ONCE = os.O_NONBLOCK | os.O_NOCTTY


def check_regular(path: str | Path) -> int:
    """The size in bytes of a regular file, of which nothing is opened; ``OSError`` for anything else."""
    return _size(os.stat(path), path)


def open_regular(path: str | Path) -> BinaryIO:
    """A regular file for reading; ``OSError`` for anything else, also where it takes a file's place at this moment."""
    return open(path, "rb", opener=_open)


def read_regular(path: str | Path, *, max_bytes: int) -> bytes:
    """All that a regular file held when it was opened: of one that grows, or of the system's own that say no size, no more.

    ``OSError`` for anything else, and for a file of more than ``max_bytes`` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise OSError(errno.EFBIG, f"{size:,} bytes, more than the limit of {max_bytes:,}", str(path))
        return file.read(size) or b""


def _open(path: str, flags: int) -> int:
    check_regular(path)
    opened = os.open(path, flags | _AT_ONCE)
    try:
        _size(os.fstat(opened), path)
    except OSError:
        os.close(opened)
        raise
    return opened


def _size(status: os.stat_result, path: str | Path) -> int:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"{_KINDS.get(kind, 'no file')}, not a regular file", str(path))
    return status.st_size
