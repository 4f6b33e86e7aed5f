"""Serves ``mmcv._ext``, mmcv's compiled operations, from ``finevit.downstream.ops`` where mmcv was installed without them.

The finder stands last in ``sys.meta_path``: a compiled extension, which the path finds, comes first. Nothing but the standard
library is imported before somebody asks for ``mmcv._ext``.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NAME = "mmcv._ext"
SOURCE = '''"""Stands in for mmcv's compiled operations, which are imported in its place where they are: see finevit.downstream."""
from finevit.downstream.ops import *
from finevit.downstream.ops import __getattr__
from finevit.downstream.ops.nms import mend
mend()
'''
"""What the stand-in runs, be it served by the finder or lie as ``_ext.py`` beside mmcv."""


class StandIn(MetaPathFinder, Loader):
    """Finds and loads the one module ``mmcv._ext``."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, origin="finevit.downstream.ops") if fullname == NAME else None

    def exec_module(self, module: ModuleType) -> None:
        exec(SOURCE, module.__dict__)


def install() -> None:
    """Append the finder to ``sys.meta_path``, once."""
    if not any(isinstance(finder, StandIn) for finder in sys.meta_path):
        sys.meta_path.append(StandIn())
