"""mmpretrain without its multimodal models where transformers is too new for them: else none of its models, nor mmdet's, load.

Those models (BLIP and others) import names that transformers 5 no longer has; mmpretrain would leave them out if transformers were
missing. Standard library only: ``import finevit`` stays light.
"""

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version


class LeaveOut:
    """A finder that finds nothing: when ``mmpretrain.models`` is about to be imported, it sets mmpretrain's own switch."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Before the import of one module; ``None`` leaves the import to the finders that follow."""
        if name == "mmpretrain.models" and transformers_is_too_new():
            import_module("mmpretrain.utils.dependency").WITH_MULTIMODAL = False  # type: ignore[attr-defined]


def transformers_is_too_new() -> bool:
    """Whether transformers is there, of version 5 or later."""
    try:
        return int(version("transformers").split(".")[0]) >= 5
    except PackageNotFoundError:
        return False


def install() -> None:
    """Once per process."""
    if LeaveOut not in sys.meta_path:
        sys.meta_path.insert(0, LeaveOut)
