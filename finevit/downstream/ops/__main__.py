"""Write ``mmcv/_ext.py``, through which programs that never import ``finevit`` find the stand-ins: mmdet's tools, mim, tests.

A compiled module, installed later, comes before it by Python's order of import. Where transformers is too new for mmpretrain,
``finevit_first.pth`` beside the packages has Python import ``finevit`` as it starts, which is light, and lets mmpretrain load.
Delete the files to undo.
"""

import importlib.machinery
import importlib.util
import sys
import sysconfig
from pathlib import Path

from finevit.downstream.finder import SOURCE
from finevit.downstream.multimodal import transformers_is_too_new

FIRST = "import importlib.util; importlib.util.find_spec('finevit') and __import__('finevit')\n"
"""What Python runs as it starts; nothing where finevit was uninstalled."""


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


def write_first(folder: Path) -> Path:
    """Put ``finevit_first.pth`` into a folder of packages."""
    file = folder / "finevit_first.pth"
    file.write_text(FIRST, "utf-8")
    return file


def main() -> None:
    """Find mmcv and mmpretrain, and write."""
    if importlib.util.find_spec("mmpretrain") and transformers_is_too_new():
        print(f"wrote {write_first(Path(sysconfig.get_path('purelib')))}, so that mmpretrain loads; delete it to undo")
    spec = importlib.util.find_spec("mmcv")
    if spec is None or spec.origin is None:
        sys.exit("error: mmcv is not installed; `pip install finevit[downstream]` brings it")
    try:
        print(f"wrote {write(Path(spec.origin).parent)}")
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
