"""Hooks of the engine: throughput, bad samples, what the run is, and a resume that is exact or refused."""

import math
import time
from ast import literal_eval
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.runner import Runner

from finevit.console import say
from finevit.contracts import BadSample
from finevit.datasets.samplers import NativeBatchSampler
from finevit.engine.numbers import NOT_NEGATIVE, WHOLE
from finevit.engine.optim import BFloat16OptimWrapper
from finevit.engine.plan import device_name
from finevit.engine.shares import SCHEDULED
from finevit.engine.unseen import seen
from finevit.ops.attention import path
from finevit.places import Spared
from finevit.precision import bfloat16_helps
from finevit.registry import HOOKS
from finevit.unwrap import unwrapped

EXPLAINED = (
    "fill: the patches of a batch over those of the run's largest yet; attention_share: what attention takes of the encoder's "
    "FLOPs; imbalance: how much more the dearest rank has to do than the mean"
)


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Logs ``images_per_s`` and ``patches_per_s`` of all ranks, between the ends of two iterations (data loading included).

    And of this rank's pack ``fill``, its patches over those of the run's largest yet, and ``attention_share``, how much of the
    encoder's FLOPs attention takes; of balanced batches ``imbalance``, how much more the dearest rank has to do than the mean.
    The log file explains them before their first line.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._largest = 0

    def before_train(self, runner: Runner) -> None:
        self._last = None
        runner.logger.info(EXPLAINED)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._last = None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        now = time.perf_counter()
        for name, value in self._values(runner, now, data_batch["images"].lengths if data_batch else ()):
            runner.message_hub.update_scalar(f"train/{name}", value)
        self._last = now

    def _values(self, runner: Runner, now: float, lengths: Sequence[int]) -> Iterator[tuple[str, float]]:
        if not lengths:
            return
        patches, squares = sum(lengths), sum(length**2 for length in lengths)
        if self._last is not None:
            yield "images_per_s", len(lengths) * runner.world_size / (now - self._last)
            yield "patches_per_s", patches * runner.world_size / (now - self._last)
        self._largest = max(self._largest, patches)
        yield "fill", patches / self._largest
        if pair_cost := getattr(getattr(unwrapped(runner.model), "backbone", None), "pair_cost", 0.0):
            yield "attention_share", squares * pair_cost / (squares * pair_cost + patches)
        batches = runner.train_dataloader.batch_sampler
        if runner.world_size > 1 and isinstance(batches, NativeBatchSampler):
            imbalance = batches.imbalance(runner.iter)
            yield from () if imbalance is None else (("imbalance", imbalance),)


@HOOKS.register_module()
class ProgressHook(LoggerHook):
    """MMEngine's progress line, also at the last step of a run, however short; no step has two.

    Curves for TensorBoard and ``scalars.json`` that cannot be written, as on a full disk, do not stop a run.
    """

    @cached_property
    def _curves(self) -> Spared:
        return Spared("the curves of the run (vis_data)")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        with self._curves.writing(runner.logger):
            super().after_val_epoch(runner, metrics)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        last = runner.iter + 1 == runner.max_iters
        if last or self.every_n_inner_iters(batch_idx, self.interval) or self._ends_epoch(runner, batch_idx):
            scalars, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "train")
            runner.logger.info(line)
            with self._curves.writing(runner.logger):
                runner.visualizer.add_scalars(scalars, step=runner.iter + 1, file_path=self.json_log_path)

    def _ends_epoch(self, runner: Runner, batch_idx: int) -> bool:
        """Of an epoch that no interval ends with, where MMEngine says so."""
        short = len(runner.train_dataloader) <= self.interval
        return self.end_of_epoch(runner.train_dataloader, batch_idx) and (not self.ignore_last or short)


@HOOKS.register_module()
class BadSamplesHook(Hook):
    """Counts the samples that could not be used, lists them in ``bad_samples.txt`` of the work dir, and stops a hopeless run.

    Images of the validation are listed once a run; the later validations say how many they lack.

    Args:
        max_share: the run stops, with the list, where more than this share of the entries was left out when the data was opened,
            or once more than this share of the samples seen is bad. A sample that is met in every epoch counts once.
        after: number of samples seen before ``max_share`` is looked at; at the latest, it is when all of a small data set was.
        at_least: fewer bad samples than this never stop a run: one bad image of nine is no reason.
        show: how many are printed one by one.
    """

    priority = "VERY_HIGH"

    def __init__(self, *, max_share: float = 0.1, after: int = 200, at_least: int = 3, show: int = 5) -> None:
        if not NOT_NEGATIVE.fits(max_share) or max_share > 1:
            raise ValueError(f"BadSamplesHook.max_share={max_share!r}: give a share of the samples, from 0 to 1")
        for name, value in (("after", after), ("at_least", at_least), ("show", show)):
            if not WHOLE.fits(value):
                raise ValueError(f"BadSamplesHook.{name}={value!r}: give {WHOLE.words}")
        self.max_share, self.after, self.at_least, self.show = max_share, after, at_least, show
        self.seen, self.size = 0, math.inf
        self.bad: list[str] = []
        self.held_out: list[str] = []
        self._lacking: dict[str, None] = {}
        self._listing = Spared("bad_samples.txt")

    def before_train(self, runner: Runner) -> None:
        dataset = runner.train_dataloader.dataset
        self.size = len(dataset)
        left_out = getattr(getattr(dataset, "source", None), "skipped", None)
        if left_out is not None and left_out.count:
            self._write(runner, left_out.listed)
            self._judge(left_out.count, left_out.seen, left_out.listed, "entries were left out")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if data_batch is None:
            return
        skipped = data_batch.get("skipped", [])
        self.seen += len(data_batch["images"].lengths) + len(skipped)
        if not skipped:
            return
        self._report(runner, skipped)
        different = list(dict.fromkeys(self.bad))
        if self.seen >= min(self.after, self.size):
            self._judge(len(different), int(min(self.seen, self.size)), different, "samples could not be used")

    def before_val_epoch(self, runner: Runner) -> None:
        self._lacking = {}

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence[dict] | None = None
    ) -> None:
        self._lacking |= dict.fromkeys((data_batch or {}).get("skipped", []))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not self._lacking:
            return
        self.hold_out(runner, list(self._lacking))
        lacking = f"{len(self._lacking):,} of {len(runner.val_dataloader.dataset):,} images are left out"
        runner.logger.warning(f"validation at step {runner.iter}: {lacking}; the list is {self._file(runner)}")

    def hold_out(self, runner: Runner, messages: Sequence[str]) -> None:
        """Lists those images of a validation that were not listed before."""
        new = [message for message in messages if message not in self.held_out]
        for message in new[: max(0, self.show - len(self.held_out))]:
            runner.logger.warning(f"left out of the validation: {message}")
        self.held_out += new
        self._write(runner, new)

    def after_train(self, runner: Runner) -> None:
        if self.bad:
            runner.logger.warning(f"{len(self.bad)} of {self.seen} samples were skipped; the list is {self._file(runner)}")

    def _judge(self, bad: int, seen: int, messages: Sequence[str], what: str) -> None:
        """Raises ``BadSample`` with the list where too many are bad."""
        if bad >= self.at_least and bad > self.max_share * seen:
            raise BadSample(
                f"{bad:,} of {seen:,} {what}, more than the share of {self.max_share:.0%} that BadSamplesHook.max_share allows. "
                "Repair or remove them, or raise the share:\n" + "\n".join(messages)
            )

    def _report(self, runner: Runner, skipped: list[str]) -> None:
        for message in skipped:
            if len(self.bad) < self.show:
                runner.logger.warning(f"skipped: {message}")
            elif len(self.bad) == self.show:
                runner.logger.warning(f"skipped more; from here on they are only listed in {self._file(runner)}")
            self.bad.append(message)
        self._write(runner, skipped)

    def _write(self, runner: Runner, messages: Sequence[str]) -> None:
        with self._listing.writing(runner.logger), self._file(runner).open("a") as file:
            file.writelines(f"{message}\n" for message in messages)

    @staticmethod
    def _file(runner: Runner) -> Path:
        suffix = f".rank{runner.rank}" if runner.rank else ""
        return Path(runner.work_dir) / f"bad_samples{suffix}.txt"


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Says at the start, in a few lines, what is trained on what: the model's own ``describe()`` and the data's."""

    @master_only
    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        own = "" if runner.cfg.get("data_root") else " (for your own images: --cfg-options data_root=PATH)"
        lines = [*model.describe(), f"data: {runner.train_dataloader.dataset.describe()}{own}"]
        if runner.val_loop is not None:
            lines.append(f"validation: {runner.val_dataloader.dataset.describe()}")
        sampler, device = runner.train_dataloader.batch_sampler, next(model.parameters()).device
        images = runner.train_loop.max_iters * sampler.batch_size * runner.world_size
        lines.append(
            f"plan: {runner.train_loop.max_iters} iterations of {sampler.batch_size} images on {runner.world_size} rank(s), "
            f"{images:,} images in all, on {device}"
        )
        if runner.val_loop is not None and (told := seen(runner.train_dataloader.dataset, runner.val_dataloader.dataset)):
            runner.logger.warning(f"validation: {told}; val_data_root=PATH leads it to images of their own")
        end = f"device: {device_name(device)}; seed {runner.seed}; from step {runner.iter}; work dir: {runner.work_dir}"
        for line in (*lines, self._path(runner, device), end):
            say(line, runner.logger)

    @staticmethod
    def _path(runner: Runner, device: torch.device) -> str:
        half = isinstance(runner.optim_wrapper, BFloat16OptimWrapper) and bfloat16_helps()
        return (
            f"precision: {'bfloat16' if half else 'float32'}; attention: {path(device, torch.bfloat16 if half else torch.float32)}"
        )


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
    settings["ResetHook"] = [(hook.get("parts"), hook["begin"]) for hook in hooks if "begin" in hook]
    settings["optim_wrapper.optimizer.type"] = (cfg["optim_wrapper"].get("optimizer") or {}).get("type")
    return {name: str(value) for name, value in settings.items()}
