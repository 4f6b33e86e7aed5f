"""A resume that is exact, or refused."""

from ast import literal_eval
from contextlib import suppress

from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from finevit.config.fractions import SCHEDULED
from finevit.registry import HOOKS


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
        then, now = checkpoint["meta"].get("data_order"), self._facts(runner)
        if then is None:
            return
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
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        return then == now or (isinstance(then, str) and isinstance(now, str) and literal_eval(then) == literal_eval(now))
    return False


def _printed(cfg: Config) -> dict[str, str]:
    """What the config says of records, schedules and optimiser, as text: any type of any package has one."""
    loader, hooks = cfg["train_dataloader"], cfg.get("custom_hooks") or ()
    batches = loader.get("batch_sampler") or {}
    settings = {f"train_dataloader.batch_sampler.{name}": batches.get(name) for name in SCHEDULED if name != "schedules"}
    settings["train_dataloader.batch_sampler.balance"] = batches.get("balance", 0)
    settings["train_dataloader.dataset.transforms"] = loader["dataset"].get("transforms")
    settings["ScheduleHook.schedules"] = [hook["schedules"] for hook in hooks if "schedules" in hook]
    settings["optim_wrapper.optimizer.type"] = (cfg["optim_wrapper"].get("optimizer") or {}).get("type")
    return {name: str(value) for name, value in settings.items()}
