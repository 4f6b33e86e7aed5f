"""A resume that is exact, or refused."""

from ast import literal_eval
from collections.abc import Mapping
from contextlib import suppress
from functools import reduce
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from finevit.config.renamed import rename_settings
from finevit.registry import HOOKS

BATCHES, TRANSFORMS = "train_dataloader.batch_sampler", "train_dataloader.dataset.transforms"
RESOLUTION = f"{BATCHES}.resolution"


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Stores what the coming steps depend on in every checkpoint, and refuses to resume where it has changed.

    That is the order of the data, what becomes of a record, every schedule in steps, and the optimiser's type. What an older
    checkpoint does not say is not compared.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint["meta"]["data_order"] = self._facts(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:
            return
        then, now = _of_today(checkpoint["meta"].get("data_order") or {}), self._facts(runner)
        if RESOLUTION in then:  # what says one schedule says all: one that is not there was none, and is none
            schedules = {name for name in (*then, *now) if name.startswith(f"{BATCHES}.")} - {f"{BATCHES}.balance"}
            then, now = {**dict.fromkeys(schedules), **then}, {**dict.fromkeys(schedules), **now}
        changed = [
            f"{name}: {then[name]} then, {now[name]} now" for name in now if name in then and not _same(then[name], now[name])
        ]
        if changed:
            raise ValueError(
                "resume: the run would not continue where the checkpoint stopped. Restore the settings (schedules given as shares "
                "of the run follow train_cfg.max_iters: give the steps of then), or start a new run from these weights with "
                "--cfg-options load_from=CHECKPOINT. Changed:\n  " + "\n  ".join(changed)
            )

    def before_train(self, runner: Runner) -> None:
        """A checkpoint in the middle of a gradient accumulation would lose gradients."""
        every = runner.optim_wrapper._accumulative_counts
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.interval > 0 and hook.interval % every:
                raise ValueError(
                    f"default_hooks.checkpoint.interval: {hook.interval} must be a multiple of "
                    f"optim_wrapper.accumulative_counts, which is {every}"
                )

    @staticmethod
    def _facts(runner: Runner) -> dict:
        batches = runner.train_dataloader.batch_sampler
        return {
            "seed": runner.seed,
            "global batch size": batches.batch_size * runner.world_size,
            "records": len(batches.sampler),
            "data": runner.train_dataloader.dataset.metainfo["source"],
            "train_dataloader.dataset.seed": getattr(runner.train_dataloader.dataset, "seed", None),
            **_printed(runner.cfg),
        }


def _same(then: object, now: object) -> bool:
    """Whether two values are, as texts or as what these say: a config that MMEngine wrote has its keys in another order."""
    return then == now or (isinstance(then, str) and isinstance(now, str) and _said(then) == _said(now))


def _said(text: str) -> Any:
    """What a text says, as far as it is one of plain values."""
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        return literal_eval(text)
    return text


def _of_today(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a checkpoint with the settings in them called as they are today."""
    own = {name for name in facts if name.startswith(f"{BATCHES}.")} - {RESOLUTION, f"{BATCHES}.balance"}
    batches: dict[str, Any] = {}
    for name in own:
        *parents, last = name.removeprefix(f"{BATCHES}.").split(".", 2)
        if (value := _said(facts[name])) is not None:
            reduce(lambda node, parent: node.setdefault(parent, {}), parents, batches)[last] = value
    loader = {"batch_sampler": batches, "dataset": {"transforms": _said(facts.get(TRANSFORMS, ""))}}
    rename_settings({"train_dataloader": loader}, quiet=True)
    gone = {f"{BATCHES}.{name}": facts[f"{BATCHES}.{name}"] for name in batches if name != "schedules"}
    kept = {name: value for name, value in facts.items() if name not in own}
    transforms = {TRANSFORMS: str(loader["dataset"]["transforms"])} if TRANSFORMS in facts else {}
    return {**kept, **gone, **_schedules(batches), **transforms}


def _schedules(batches: Mapping[str, Any]) -> dict[str, str]:
    """The schedules of a batch sampler's config, by transform and argument."""
    return {
        f"{BATCHES}.schedules.{transform}.{argument}": str(schedule)
        for transform, arguments in (batches.get("schedules") or {}).items()
        for argument, schedule in (arguments or {}).items()
        if schedule is not None
    }


def _printed(cfg: Config) -> dict[str, str]:
    """What the config says of records, schedules and optimiser, as text: any type of any package has one."""
    loader, hooks = cfg["train_dataloader"], cfg.get("custom_hooks") or ()
    batches = loader.get("batch_sampler") or {}
    settings = {RESOLUTION: batches.get("resolution"), f"{BATCHES}.balance": batches.get("balance", 0)}
    settings |= _schedules(batches)
    settings[TRANSFORMS] = loader["dataset"].get("transforms")
    settings["ScheduleHook.schedules"] = [hook["schedules"] for hook in hooks if "schedules" in hook]
    settings["optim_wrapper.optimizer.type"] = (cfg["optim_wrapper"].get("optimizer") or {}).get("type")
    return {name: str(value) for name, value in settings.items()}
