"""Where this project keeps what it has downloaded, converted or indexed once."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


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


def keep(path: Path, save: Callable[[BinaryIO], object]) -> None:
    """Has ``save`` write a file of the cache, whole or not at all; ``OSError`` where the cache cannot be written.

    Several processes may write at once: each has a file of its own, and renaming decides.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            save(file)  # type: ignore[arg-type]
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
