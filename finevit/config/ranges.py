"""Numbers that torch and MMEngine take without looking, or refuse without naming the setting."""

import logging
import math
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt, Predicate
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Priority
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from finevit.config.dotted import settings
from finevit.datasets.schedules import schedulable, unfit
from finevit.registry import TRANSFORMS, kind_of
from finevit.signatures import wrong_value


def _numbered(name: str) -> bool:
    """Whether a text becomes another name with each step."""
    try:
        return name.format(1) != name.format(2)
    except (IndexError, KeyError, ValueError, AttributeError):
        return False


TIMES = Annotated[int, "a whole number (-1: never)"]
DECAY = Annotated[float, Ge(0), Lt(1)]
FACTOR = Annotated[float, Gt(0), Le(math.inf)]
RATE = Annotated[float, Ge(0), Le(10**6)]
PRIORITIES = tuple(Priority.__members__)
PRIORITY = (
    Annotated[int, Ge(0), Le(100)]
    | Annotated[str, Predicate(lambda name: name.upper() in PRIORITIES), f"one of {', '.join(PRIORITIES)}"]
)
TEMPLATE = Annotated[str, Predicate(_numbered), "a name with {} for the step, such as iter_{}.pth"]

FOREIGN: dict[str, Any] = {
    "log_level": int | Literal[tuple(logging.getLevelNamesMapping())],
    "log_processor.window_size": PositiveInt,
    "randomness.seed": Annotated[int, Ge(0), Le(2**32 - 1)] | None,
    "default_hooks.*.interval": TIMES,
    "*_hooks.*.priority": PRIORITY,
    "default_hooks.checkpoint.filename_tmpl": TEMPLATE | None,
    "default_hooks.checkpoint.max_keep_ckpts": TIMES,
    "*_dataloader.batch_size": Annotated[int, Ge(1), Le(10**6)],
    "*_dataloader.num_workers": Annotated[int, Ge(0), Le(1024)],
    "*_dataloader.prefetch_factor": PositiveInt | None,
    "*_dataloader.timeout": Annotated[float, Ge(1), "seconds"] | Annotated[Literal[0], "0: none"],
    "optim_wrapper.accumulative_counts": PositiveInt,
    "optim_wrapper.clip_grad.max_norm": FACTOR,
    "optim_wrapper.clip_grad.clip_value": FACTOR,
    "optim_wrapper.optimizer.lr": RATE | None,
    "optim_wrapper.optimizer.weight_decay": NonNegativeFloat,
    "optim_wrapper.optimizer.eps": NonNegativeFloat,
    "optim_wrapper.optimizer.momentum": DECAY,
    "optim_wrapper.optimizer.betas.*": DECAY,
    "optim_wrapper.paramwise_cfg.*_mult": NonNegativeFloat,
    "optim_wrapper.paramwise_cfg.layer_decay_rate": FACTOR,
    "param_scheduler*.begin": NonNegativeInt,
    "param_scheduler*.end": PositiveInt,
    "param_scheduler*.eta_min": RATE,
    "param_scheduler*.end_factor": NonNegativeFloat,
    "param_scheduler*.start_factor": FACTOR,  # the rate of each step is a multiple of the one before
    "param_scheduler*.factor": FACTOR,
}
"""By the dotted name of a setting, ``*`` for any part of it: what MMEngine's and torch's own signatures do not say."""


def wrong_foreign(cfg: dict) -> list[str]:
    """One line for each setting of MMEngine or torch that is not what it must be."""
    return [
        line
        for path, value in settings(cfg)
        for pattern, said in FOREIGN.items()
        if fnmatchcase(path, pattern)
        for line in wrong_value(path, value, said)
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


def unfit_schedules(cfg: dict) -> list[str]:
    """One line for each schedule of a batch sampler that no transform follows."""
    errors = []
    for loader in [name for name in cfg if name.endswith("_dataloader") and isinstance(cfg[name], dict)]:
        sampler, dataset = (cfg[loader].get(name) or {} for name in ("batch_sampler", "dataset"))
        steps = dataset.get("transforms") or () if sampler.get("schedules") else ()
        transforms = {kind_of(step): schedulable(TRANSFORMS.get(step["type"])) for step in steps}
        for name, problem in unfit(sampler.get("schedules") or {}, transforms):
            errors.append(f"{loader}.batch_sampler.schedules.{name} {problem.replace('dataset.', f'{loader}.dataset.')}")
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
