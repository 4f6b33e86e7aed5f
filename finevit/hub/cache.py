"""Where this project keeps what it has downloaded, converted or indexed once."""

import errno
import os
from pathlib import Path


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
