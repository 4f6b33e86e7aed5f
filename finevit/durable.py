"""Files that survive a kill and a power cut, and say whether they are whole.

A file is written under a temporary name, synced, renamed, and its folder synced; beside it stands its SHA-256, in the format of
``sha256sum -c``.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

UNFINISHED = ".unfinished"
"""Ending of files that are being written."""
DIGEST = ".sha256"
"""Ending of the file that holds another's SHA-256."""


class _Digesting:
    """A file opened for writing whose SHA-256 is computed on the way; append-only, as ``torch.save`` needs it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def write_file(path: str | Path, save: Callable[[IO[bytes]], object], *, digest: bool = False) -> None:
    """Has ``save`` write ``path``, completely or not at all, also where the power goes; with ``digest`` the SHA-256 beside it."""
    path = Path(path)
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            digesting = _Digesting(file)
            save(digesting if digest else file)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        if digest:
            line = f"{digesting.digest.hexdigest()}  {path.name}\n".encode()
            write_file(path.with_name(path.name + DIGEST), lambda file: file.write(line))
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names of a folder durable."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def check_digest(path: str | Path) -> str:
    """Empty where a file is as it was written, or has no SHA-256 beside it; else what is wrong, for people."""
    path = Path(path)
    noted = path.with_name(path.name + DIGEST)
    if not noted.is_file():
        return ""
    wanted = noted.read_text(errors="replace").partition(" ")[0]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if found == wanted else f"is damaged: its SHA-256 is {found[:12]}…, and was {wanted[:12]}… when it was written"
