"""Numbers that torch and MMEngine take without looking, or refuse without naming the setting."""

import logging
import math
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Priority

from finevit.registry import TRANSFORMS


class Kind(NamedTuple):
    """What a setting must be, in words, and whether a value is that."""

    words: str
    fits: Callable[[Any], bool]


def _whole(value: Any, low: float = -math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbered(value: Any) -> bool:
    """Whether a text becomes another name with each step."""
    try:
        return isinstance(value, str) and value.format(1) != value.format(2)
    except (IndexError, KeyError, ValueError, AttributeError):
        return False


INTEGER = Kind("a whole number (-1: never)", _whole)
WHOLE = Kind("a whole number, at least 0", lambda value: _whole(value, 0))
WORKERS = Kind("a whole number from 0 to 1,024", lambda value: _whole(value, 0) and value <= 1024)
COUNT = Kind("a whole number, at least 1", lambda value: _whole(value, 1))
BATCH = Kind("a whole number from 1 to 1,000,000", lambda value: _whole(value, 1) and value <= 10**6)
COUNT_OR_NONE = Kind("a whole number, at least 1, or None", lambda value: value is None or _whole(value, 1))
SEED = Kind("a whole number from 0 to 2**32 - 1, or None", lambda value: value is None or (_whole(value, 0) and value < 2**32))
POSITIVE = Kind("a number above 0", lambda value: _real(value) and value > 0)
NOT_NEGATIVE = Kind("a finite number, at least 0", lambda value: _real(value) and 0 <= value < math.inf)
MINUTES = Kind("minutes, a number above 0, or None", lambda value: value is None or POSITIVE.fits(value))
LOWEST_RATE = Kind("a number from 0 to 1,000,000", lambda value: _real(value) and 0 <= value <= 10**6)
RATE = Kind("a number from 0 to 1,000,000, or None", lambda value: value is None or LOWEST_RATE.fits(value))
FINITE = Kind("a finite number", lambda value: _real(value) and math.isfinite(value))
FREQUENCIES = Kind("a whole number from 0 to 16", lambda value: _whole(value, 0) and value <= 16)
TIMEOUT = Kind("seconds, at least 1, or 0: none", lambda value: NOT_NEGATIVE.fits(value) and (value >= 1 or value == 0))
PRIORITIES = tuple(Priority.__members__)
PRIORITY = Kind(
    f"a whole number from 0 to 100, or one of {', '.join(PRIORITIES)}",
    lambda value: value.upper() in PRIORITIES if isinstance(value, str) else _whole(value, 0) and value <= 100,
)
SWITCH = Kind("True or False", lambda value: isinstance(value, bool))
DECAY = Kind("a number from 0 to below 1", lambda value: _real(value) and 0 <= value < 1)

LEVELS = tuple(logging.getLevelNamesMapping())
LEVEL = Kind(f"a whole number, or one of {', '.join(LEVELS)}", lambda value: value in LEVELS or _whole(value, 0))
TEMPLATE = Kind("a name with {} for the step, such as iter_{}.pth, or None", lambda value: value is None or _numbered(value))

NUMBERS = {
    "log_level": LEVEL,
    "default_hooks.checkpoint.filename_tmpl": TEMPLATE,
    "randomness.seed": SEED,
    "optim_wrapper.accumulative_counts": COUNT,
    "optim_wrapper.clip_grad.max_norm": POSITIVE,
    "optim_wrapper.clip_grad.clip_value": POSITIVE,
    "optim_wrapper.optimizer.lr": RATE,
    "optim_wrapper.optimizer.weight_decay": NOT_NEGATIVE,
    "optim_wrapper.optimizer.eps": NOT_NEGATIVE,
    "optim_wrapper.optimizer.momentum": DECAY,
    "optim_wrapper.optimizer.betas.*": DECAY,
    "optim_wrapper.paramwise_cfg.*_mult": NOT_NEGATIVE,
    "optim_wrapper.paramwise_cfg.layer_decay_rate": POSITIVE,
    "param_scheduler*.begin": WHOLE,
    "param_scheduler*.end": COUNT,
    "param_scheduler*.eta_min": LOWEST_RATE,
    "param_scheduler*.end_factor": NOT_NEGATIVE,
    "param_scheduler*.start_factor": POSITIVE,  # the rate of each step is a multiple of the one before
    "param_scheduler*.factor": POSITIVE,
    "*_dataloader.batch_size": BATCH,
    "*_dataloader.num_workers": WORKERS,
    "*_dataloader.prefetch_factor": COUNT_OR_NONE,
    "*_dataloader.timeout": TIMEOUT,
    "default_hooks.*.interval": INTEGER,
    "default_hooks.*.priority": PRIORITY,
    "custom_hooks.*.priority": PRIORITY,
    "default_hooks.checkpoint.max_keep_ckpts": INTEGER,
    "default_hooks.checkpoint.minutes": MINUTES,
    "log_processor.window_size": COUNT,
    "model.*_frozen": SWITCH,
    "model.micro_batch": COUNT_OR_NONE,
    "model.backbone.arch.*": COUNT,
    "model.backbone.drop_path": DECAY,
    "model.backbone.rope_theta": POSITIVE,
    "model.backbone.locality": NOT_NEGATIVE,
    "model.text_encoder.depth": COUNT,
    "model.text_encoder.dim": COUNT,
    "model.text_encoder.heads": COUNT,
    "model.text_encoder.hidden": COUNT_OR_NONE,
    "model.text_encoder.context": COUNT_OR_NONE,
    "model.text_encoder.vocab": COUNT_OR_NONE,
    "model.text_encoder.rope_theta": POSITIVE,
    "model.head.embed_dim": COUNT,
    "model.head.chunk": COUNT,
    "model.head.scale": POSITIVE,
    "model.head.bias": FINITE,
    "model.head.weight": NOT_NEGATIVE,
    "model.head.visible_weight": NOT_NEGATIVE,
    "model.connector.hidden": COUNT_OR_NONE,
    "model.connector.frequencies": FREQUENCIES,
    "model.llm.depth": COUNT,
    "model.llm.dim": COUNT,
    "model.llm.heads": COUNT,
    "model.llm.hidden": COUNT_OR_NONE,
    "model.llm.context": COUNT_OR_NONE,
    "model.answer_length": COUNT,
    "*.resolution.side": COUNT,
    "*.resolution.*_side": COUNT,
    "*.resolution.milestones.*.1": COUNT,
}
"""By the dotted name of the setting, ``*`` for any part of it. Values that a schedule sets are the schedule's own."""


def wrong_numbers(cfg: dict) -> list[str]:
    """One line for each setting of the table that is not what it must be."""
    return [
        f"{path}={value!r}: give {kind.words}"
        for path, value in _settings("", cfg)
        for pattern, kind in NUMBERS.items()
        if fnmatchcase(path, pattern) and not kind.fits(value)
    ]


TRIED = 3
"""Steps of a scheduler."""


def wrong_schedules(cfg: dict) -> list[str]:
    """One line for each scheduler of the optimiser that cannot be built; they are tried on one parameter."""
    schedulers, errors = cfg.get("param_scheduler") or [], []
    steps = (cfg.get("train_cfg") or {}).get("max_iters")
    for index, scheduler in enumerate(schedulers if isinstance(schedulers, list | tuple) else ()):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.5)
        ends = {"end": steps} if steps and not scheduler.get("by_epoch", True) else {}
        try:
            made = PARAM_SCHEDULERS.build({**ends, **scheduler}, default_args={"optimizer": optimizer, "epoch_length": 1000})
            for _ in range(TRIED):
                optimizer.step()
                made.step()
        except Exception as error:  # asserts, comparisons of strings with numbers, values out of range
            given = ", ".join(f"{name}={value!r}" for name, value in scheduler.items() if name != "type")
            errors.append(
                f"param_scheduler.{index}: {scheduler.get('type')}({given}) cannot be used: {type(error).__name__}: {error}"
            )
    return errors


ACTS_IN = {"patch_drop": "DropPatches", "mixture": "AskQuestions", "close_up": "CropToRegion"}
"""Schedules of the batch sampler by the transform that follows them."""


def idle_schedules(cfg: dict) -> list[str]:
    """One line for each schedule of a batch sampler that no transform follows."""
    errors = []
    for loader in [name for name in cfg if name.endswith("_dataloader") and isinstance(cfg[name], dict)]:
        sampler, dataset = (cfg[loader].get(name) or {} for name in ("batch_sampler", "dataset"))
        present = {transform.get("type") for transform in dataset.get("transforms") or () if isinstance(transform, dict)}
        errors += [
            f"{loader}.batch_sampler.{schedule} has no effect without {transform}: add it to {loader}.dataset.transforms"
            for schedule, transform in ACTS_IN.items()
            if sampler.get(schedule) is not None and not present & {transform, f"finevit.{transform}"}
        ]
    return errors


PACKED = {
    "pack_samples": ("Patchify",),
    "pack_evaluation": ("Patchify",),
    "pack_dialogues": ("Patchify", "TokenizeDialogue"),
}
"""What makes the parts of a sample that our collate functions pack."""


def unpackable(cfg: dict) -> list[str]:
    """One line for each loader whose samples lack what is packed; transforms of other packages may make it."""
    errors = []
    for loader in [name for name in cfg if name.endswith("_dataloader") and isinstance(cfg[name], dict)]:
        dataset, collate = (cfg[loader].get(name) or {} for name in ("dataset", "collate_fn"))
        kinds = [str(transform.get("type")).removeprefix("finevit.") for transform in dataset.get("transforms") or ()]
        ours = all(getattr(TRANSFORMS.get(kind), "__module__", "").startswith("finevit.") for kind in kinds)
        needed = PACKED.get(str(collate.get("type")).removeprefix("finevit."), ()) if dataset.get("type") == "NativeImages" else ()
        absent = [kind for kind in needed if kind not in kinds] if ours else []
        told = f"{loader}.dataset.transforms={kinds}: {collate.get('type')} packs what {' and '.join(absent)} makes; add it"
        errors += [told] if absent else []
    return errors


def _settings(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every setting with its dotted name."""
    if path:
        yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, child in children:
        yield from _settings(f"{path}.{name}" if path else str(name), child)
