"""Operations of mmcv that have no stand-in: they can be imported, and say at their first call what to do."""

from collections.abc import Callable
from typing import NoReturn


def missing(name: str) -> Callable[..., NoReturn]:
    """A function in the place of mmcv's compiled ``name``. Calling it raises ``ValueError``."""

    def unavailable(*_arguments: object, **_settings: object) -> NoReturn:
        raise ValueError(
            f"mmcv was installed without its compiled operations, and {name!r} has no stand-in in finevit.downstream.ops; "
            "compile them: `make ops` in a checkout of finevit, or `MMCV_WITH_OPS=1 pip install --no-build-isolation "
            "--force-reinstall --no-deps --no-binary onedl-mmcv onedl-mmcv`, which fails where PyTorch needs a newer C++ "
            "standard than mmcv's setup.py asks for (`make ops` raises it)"
        )

    unavailable.__name__ = unavailable.__qualname__ = name
    return unavailable
