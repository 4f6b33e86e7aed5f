"""What a component says when it is built, as an error that names its settings."""

import errno
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mmengine.registry import build_from_cfg
from mmengine.runner import Runner

from finevit.config.dotted import dicts
from finevit.config.options import ConfigError
from finevit.config.schema import RESERVED
from finevit.config.trial_build import try_optimizer
from finevit.storage.places import FULL

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
SHORT, MOST = 80, 300
"""Characters of a value, and of all of a part, that an error shows."""


@contextmanager
def refusals(cfg: Mapping[str, Any]) -> Iterator[None]:
    """Turns what was raised while the Runner built from a config into a ``ConfigError``; what comes later keeps its kind.

    The ``ValueError`` of a component of ours says what is wrong: the place in the config is put before it. Of others the settings
    are shown, and ``FINEVIT_TRACEBACK=1`` shows where. What the system says of a full place is handed on as it is.
    """
    try:
        yield
    except Exception as error:
        from finevit.engine.cli import is_ours

        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        path, setting = _building(cfg, frames)
        full = isinstance(error, OSError) and error.errno in (*FULL, errno.EROFS)
        if full or not setting or isinstance(error, ConfigError):
            raise
        if isinstance(error, ValueError) and is_ours(error):
            if not path or path in str(error):
                raise
            raise ConfigError(f"{path}: {error}") from error
        raise ConfigError(f"{setting} cannot be used ({told(error)}); FINEVIT_TRACEBACK=1 shows where") from error


def told(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _building(cfg: Mapping[str, Any], frames: list[FrameType]) -> tuple[str, str]:
    """What was being built, innermost first: path and settings of a part of the config, else what a method of the Runner reads."""
    methods = {getattr(Runner, name).__code__: setting for name, setting in METHODS.items()}
    methods[try_optimizer.__code__] = "optim_wrapper"
    for frame in reversed(frames):
        if frame.f_code is not build_from_cfg.__code__ and frame.f_code not in methods:
            continue
        given = [value for value in frame.f_locals.values() if isinstance(value, Mapping) and value]
        place = next(((path, part) for part in given if (path := path_of(cfg, part))), None)
        if place and frame.f_code is not Runner.__init__.__code__:
            where = f"{place[0]}{_lent(cfg, place[1])}"
            return where, f"{where}{_settings(place[1])}"
        if setting := methods.get(frame.f_code):
            return "", f"{setting}={cfg[setting]!r}" if setting in cfg else setting
    return "", ""


def _lent(cfg: Mapping[str, Any], part: Mapping) -> str:
    """Whose tokenizer a transform was given, as ``share_tokenizer`` does."""
    model = cfg.get("model") or {}
    parts = [(name, model[name]) for name in ("text_encoder", "llm") if isinstance(model.get(name), Mapping)]
    lent = [f"model.{name}.{key}" for name, own in parts for key in ("tokenizer", "model") if own.get(key) == part.get("tokenizer")]
    return f" ({lent[0]})" if lent and part.get("tokenizer") and part not in [own for _, own in parts] else ""


def _settings(given: Mapping) -> str:
    """What a part of a config is set to."""
    values = ", ".join(f"{name}={value!r}" for name, value in given.items() if name not in RESERVED and len(repr(value)) <= SHORT)
    return f": {given.get('type', '')}({values[:MOST]})"


def path_of(cfg: Mapping[str, Any], wanted: Mapping) -> str:
    """Where a config holds these settings, or more than these; what was added to them aside. Empty where it does not."""
    wanted = {name: value for name, value in wanted.items() if name != "_scope_"}
    places = [(path, value) for path, value in dicts(cfg) if path and value.get("type") == wanted.get("type")]
    same = [path for path, value in places if value == wanted]
    more = [path for path, value in places if wanted and all(name in value and value[name] == wanted[name] for name in wanted)]
    return next(iter([*same, *more]), "")
