"""Write ``mmcv/_ext.py``, through which programs that never import ``finevit`` find the stand-ins: mmdet's tools, mim, tests.

A compiled module, installed later, comes before it by Python's order of import. Delete the file to undo.
"""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

from finevit.downstream.finder import SOURCE


def write(folder: Path) -> Path:
    """Put ``_ext.py`` into mmcv's folder. Raises ``ValueError`` where a compiled ``_ext``, or somebody else's, is."""
    compiled = [folder / f"_ext{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    for found in filter(Path.exists, compiled):
        raise ValueError(f"mmcv has its compiled operations ({found}); nothing needs to stand in for them")
    file = folder / "_ext.py"
    if file.exists() and "finevit" not in file.read_text("utf-8"):
        raise ValueError(f"{file} is not of finevit's making; move it away first")
    file.write_text(SOURCE, "utf-8")
    return file


def main() -> None:
    """Find mmcv and write."""
    spec = importlib.util.find_spec("mmcv")
    if spec is None or spec.origin is None:
        sys.exit("error: mmcv is not installed; `pip install finevit[downstream]` brings it")
    try:
        print(f"wrote {write(Path(spec.origin).parent)}")
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
