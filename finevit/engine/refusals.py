"""What a component says when it is built, as an error that names its settings."""

import errno
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mmengine.registry import build_from_cfg
from mmengine.runner import Runner

from finevit.engine.options import ConfigError
from finevit.engine.slots import RESERVED
from finevit.places import FULL

METHODS = {
    "setup_env": "env_cfg",
    "set_randomness": "randomness",
    "build_visualizer": "visualizer",
    "build_model": "model",
    "register_hooks": "default_hooks or custom_hooks",
    "build_dataloader": "the dataloaders",
    "build_train_loop": "train_cfg or train_dataloader",
    "build_val_loop": "val_cfg, val_dataloader or val_evaluator",
    "build_test_loop": "test_cfg, test_dataloader or test_evaluator",
    "build_evaluator": "val_evaluator",
    "build_optim_wrapper": "optim_wrapper",
    "build_param_scheduler": "param_scheduler",
    "scale_lr": "auto_scale_lr",
    "build_log_processor": "log_processor",
    "build_logger": "log_level",
    "__init__": "a setting of the run",
}
"""Settings by the method of MMEngine's Runner that builds from them."""


@contextmanager
def refusals(cfg: Mapping[str, Any]) -> Iterator[None]:
    """Turns what was raised while the Runner built from a config into a ``ConfigError``; what comes later keeps its kind.

    The ``ValueError`` of a component that names its setting is handed on as it is, and so is what the system says of a full place.
    ``FINEVIT_TRACEBACK=1`` shows where.
    """
    try:
        yield
    except Exception as error:
        from finevit.engine.cli import is_ours

        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        setting = _building(cfg, frames)
        full = isinstance(error, OSError) and error.errno in (*FULL, errno.EROFS)
        if full or not setting or (isinstance(error, ValueError) and is_ours(error)):
            raise
        raise ConfigError(f"{setting} cannot be used ({told(error)}); FINEVIT_TRACEBACK=1 shows where") from error


def told(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _building(cfg: Mapping[str, Any], frames: list[FrameType]) -> str:
    """What was being built, innermost first: a component with its settings, else what a method of the Runner reads; or nothing."""
    for frame in reversed(frames):
        if frame.f_code is build_from_cfg.__code__:
            given = frame.f_locals.get("cfg")
            if isinstance(given, Mapping) and (path := _path(cfg, given)):
                settings = ", ".join(f"{name}={value!r}" for name, value in given.items() if name not in RESERVED)
                return f"{path}: {given.get('type')}({settings[:300]})"
    methods = [frame.f_code for frame in frames]
    found = [name for code in methods for name in METHODS if getattr(Runner, name).__code__ is code]
    return METHODS[found[-1]] if found else ""


def _path(node: Any, wanted: Mapping, path: str = "") -> str:
    """Where a config holds the settings of a component; what the Runner adds or takes away aside."""
    for name, value in node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ():
        where = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping) and value and (value is wanted or value == wanted):
            return where
        if found := _path(value, wanted, where):
            return found
    return ""
