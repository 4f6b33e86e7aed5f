"""Files that survive a kill and a power cut, and say whether they are whole.

A file is written under a temporary name, synced, renamed, and its folder synced; beside it stands its SHA-256, in the format of
``sha256sum -c``. The SHA-256 comes first, beside that of the file it replaces where there is one: whenever the power goes, what
stands under the name is one of those.
"""

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO

UNFINISHED = ".unfinished"
"""Ending of files that are being written."""
DIGEST = ".sha256"
"""Ending of the file that holds another's SHA-256."""
PATIENCE = 10.0
"""Seconds to wait for another process that writes the same file."""
LARGE = 1 << 20
"""Bytes that are worth a thread."""


class _Writer:
    """A file opened for writing, append-only, as ``torch.save`` needs it: computes its SHA-256 and keeps what went wrong."""

    def __init__(self, file: IO[bytes], threads: ThreadPoolExecutor) -> None:
        self._file, self._threads = file, threads
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """The SHA-256 is computed while the data is written."""
        hashed = self._threads.submit(self.digest.update, data) if len(data) > LARGE else None
        if not hashed:
            self.digest.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error  # torch raises another error over it
            raise
        finally:
            if hashed:
                hashed.result()

    def flush(self) -> None:
        self._file.flush()


def write_file(path: str | Path, save: Callable[[IO[bytes]], object], *, digest: bool = False, shared: bool = False) -> None:
    """Has ``save`` write ``path``, completely or not at all, also where the power goes; with ``digest`` the SHA-256 beside it.

    Of a file that is ``shared`` several processes may write at once: each has a temporary name of its own, and the last one counts.
    ``OSError`` names the file where its place does not take it, such as a full disk; what stood there before is whole, and nothing
    else is left.
    """
    path = Path(path)
    unfinished = path.with_name(f"{path.name}.{token_hex(4)}{UNFINISHED}" if shared else path.name + UNFINISHED)
    make_folder(path.parent)
    before: list[str] = []
    try:
        found = _write_synced(unfinished, save)
        if digest:
            before = _digests(path) or ([_sha256(path)] if path.is_file() else [])
            _write_digests(path, [found, *before])
        unfinished.replace(path)
    except BaseException as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
            if digest and not path.exists():
                remove(path)
        if isinstance(error, OSError) and error.errno:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    sync_folder(path.parent)
    if before:
        _write_digests(path, [found])


def _write_synced(path: Path, save: Callable[[IO[bytes]], object]) -> str:
    """The SHA-256 of what ``save`` wrote."""
    with ThreadPoolExecutor(1) as threads, path.open("wb") as file:
        writer = _Writer(file, threads)
        try:
            save(writer)  # type: ignore[arg-type]
        except Exception as error:
            raise writer.error or error  # noqa: B904
        file.flush()
        os.fsync(file.fileno())
    return writer.digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Makes a folder, and those that it is in, durably."""
    if not folder.is_dir():
        make_folder(folder.parent)
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names of a folder durable, where the file system and the folder's rights allow it."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Of processes that read and write a file of a folder one at a time, by a lock on the folder.

    Where a file system has no locks none waits, and for one that is stuck nobody waits longer than ``PATIENCE``.
    """
    with ExitStack() as held:
        with suppress(OSError):
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, opened)
            end = time.monotonic() + PATIENCE
            while not _locked(opened) and time.monotonic() < end:
                time.sleep(0.02)
        yield


def _locked(opened: int) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove(path: str | Path) -> None:
    """Removes a file, where it is there, and its SHA-256."""
    path = Path(path)
    path.unlink(missing_ok=True)
    _noted(path).unlink(missing_ok=True)


def check_digest(path: str | Path) -> str:
    """Empty where a file is as it was written, or has no SHA-256 beside it; else what is wrong, for people."""
    path = Path(path)
    if not _noted(path).is_file():
        return ""
    found, wanted = _sha256(path), _digests(path)
    was = " or ".join(f"{digest[:12]}…" for digest in wanted)
    if not wanted:
        return f"cannot be verified: {_noted(path).name} beside it holds no SHA-256; remove that if this file is known to be whole"
    return "" if found in wanted else f"is damaged: its SHA-256 is {found[:12]}…, and was {was} when it was written"


def _noted(path: Path) -> Path:
    return path.with_name(path.name + DIGEST)


def _digests(path: Path) -> list[str]:
    """What the file beside ``path`` says; two where a kill came while it was replaced."""
    noted = _noted(path)
    words = [line.split(" ")[0].lower() for line in noted.read_text(errors="replace").splitlines()] if noted.is_file() else []
    return [word for word in words if re.fullmatch("[0-9a-f]{64}", word)]


def _write_digests(path: Path, digests: list[str]) -> None:
    text = "".join(f"{digest}  {path.name}\n" for digest in digests)
    write_file(_noted(path), lambda file: file.write(text.encode()))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
