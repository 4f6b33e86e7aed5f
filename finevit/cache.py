"""Where this project keeps what it has downloaded, converted or indexed once."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/finevit``, or ``~/.cache/finevit``; not necessarily there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finevit"
