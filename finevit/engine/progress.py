"""The console of a run: MMEngine's Runner with a quiet console, and a live bar with what is left to do."""

import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import MMLogger
from mmengine.runner import EpochBasedTrainLoop, Priority, Runner
from torch import nn

from finevit.config.refusals import build_light
from finevit.console import aligned, say, screen, take_over
from finevit.engine.checkpoints import forget_others, usable
from finevit.engine.hooks.checkpoint_hook import DurableCheckpointHook

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINES = 40
"""A console that is no terminal gets at most so many lines about the steps of a run, and two."""
OFTEN = 0.1
"""Seconds between two pictures of the bar."""
RECENT = 20
"""Rates and losses are means over so many steps."""
NAMED = 5
"""So many metrics of a validation are shown while the training goes on."""


class QuietRunner(Runner):
    """MMEngine's Runner, whose console shows what people read; the log file has everything."""

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None) -> MMLogger:
        """Called by MMEngine before anything is logged."""
        logger = super().build_logger(log_level, log_file)
        take_over(logger)
        say(f"log file, with everything: {logger.log_file}", logger)
        return logger

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Called by MMEngine before anything else is built."""
        build_light(self)
        return super().build_model(model)

    def resume(self, filename: str, *arguments: Any, **options: Any) -> None:
        """Called by MMEngine."""
        with usable("resume", filename):
            super().resume(filename, *arguments, **options)
        forget_others(self)

    def load_checkpoint(self, filename: str, *arguments: Any, **options: Any) -> Any:
        """Called by MMEngine, to resume too."""
        with usable("resume" if self._resume else "load_from", filename):
            return super().load_checkpoint(filename, *arguments, **options)

    def register_hook(self, hook: Hook | dict, priority: str | int | Priority | None = None) -> None:
        """Called by MMEngine for each hook; its own for checkpoints, as in configs of other packages, is made durable."""
        if isinstance(hook, dict) and hook.get("type") in ("CheckpointHook", "mmengine.CheckpointHook", CheckpointHook):
            hook = {**hook, "type": DurableCheckpointHook}
        super().register_hook(hook, priority)


class ConsoleHook(Hook):
    """Shows how far a run is, and what is left: a bar in a terminal, elsewhere a line from time to time; the results at the end.

    The bar is drawn by the main thread alone: workers are forked while it is there. The Runner runs inside ``closing``.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._steps: TaskID | None = None
        self._checking: TaskID | None = None
        self._drawn = self._begun = self._began_check = 0.0
        self._check_seconds: float | None = None
        self._found: dict[int, dict[str, float]] = {}

    def before_train(self, runner: Runner) -> None:
        self._begun = time.perf_counter()
        self._bar = _bar(runner)
        if self._bar:
            self._steps = self._bar.add_task("training", total=runner.max_iters, completed=runner.iter, told="")
            self._bar.start()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        step, last = runner.iter + 1, runner.iter + 1 == runner.max_iters
        if self._bar and self._steps is not None:
            self._draw(self._steps, always=last, completed=step, told=self._told(runner, step))
        elif last or (self._check_seconds is None and step == 1) or step % -(-runner.max_iters // LINES) == 0:
            width = len(str(runner.max_iters))
            say(f"Iter(train) [{step:{width}}/{runner.max_iters}]  {self._told(runner, step)}", runner.logger)

    def before_val_epoch(self, runner: Runner) -> None:
        self._start_check(runner, "validating", len(runner.val_dataloader))

    def before_test_epoch(self, runner: Runner) -> None:
        self._bar = self._bar or _bar(runner)
        self._start_check(runner, "testing", len(runner.test_dataloader))

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self._checking is not None:
            self._draw(self._checking, completed=batch_idx + 1)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.after_val_iter(runner, batch_idx)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._check_seconds = time.perf_counter() - self._began_check
        self._end_check()
        if metrics:
            self._found[runner.iter] = metrics
            shown = "  ".join(f"{name}: {value:.4f}" for name, value in list(metrics.items())[:NAMED])
            more = f"  ({len(metrics) - NAMED} more in the log file)" if len(metrics) > NAMED else ""
            say(f"validation at step {runner.iter}  {shown}{more}", runner.logger)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._end_check()

    def after_run(self, runner: Runner) -> None:
        self._close()
        if not self._begun:
            return
        if self._found:
            say(results(self._found), runner.logger)
        seconds = int(time.perf_counter() - self._begun)
        say(f"trained to step {runner.iter} of {runner.max_iters} in {clock(seconds)}", runner.logger)
        for name, path in (("checkpoint", runner.message_hub.runtime_info.get("last_ckpt")), ("log file", runner.logger.log_file)):
            if path:
                say(f"{name}: {path}", runner.logger)

    @contextmanager
    def closing(self, runner: Runner) -> Iterator[None]:
        """Around a run: leaves the terminal as it was whatever happens, and has the log file say what did."""
        try:
            yield
        except Exception:
            runner.logger.info(f"the run ended by an error\n{traceback.format_exc()}")
            raise
        finally:
            self._close()

    def _close(self) -> None:
        if self._bar:
            self._bar.stop()
        self._bar = None

    def _start_check(self, runner: Runner, what: str, batches: int) -> None:
        self._end_check()  # one that was given up
        self._began_check = time.perf_counter()
        if self._bar:
            self._checking = self._bar.add_task(what, total=batches, told="")
            self._bar.start()

    def _end_check(self) -> None:
        if self._bar and self._checking is not None:
            self._bar.remove_task(self._checking)
            self._bar.refresh()
        self._checking = None

    def _draw(self, task: "TaskID", *, always: bool = False, **fields: Any) -> None:
        now = time.perf_counter()
        if self._bar:
            self._bar.update(task, **fields)
            if always or now - self._drawn >= OFTEN:
                self._bar.refresh()
                self._drawn = now

    def _told(self, runner: Runner, step: int) -> str:
        """Loss, rate, speed, and the time that is left, validations included."""
        logged = runner.message_hub.log_scalars
        parts = [f"loss: {logged['train/loss'].mean(RECENT):.4f}"] if "train/loss" in logged else []
        parts += [f"lr: {logged['train/lr'].current():.1e}"] if "train/lr" in logged else []
        if "train/time" in logged:
            seconds = logged["train/time"].mean(RECENT)
            parts.append(f"{speed(runner, seconds):.1f} images/s")
            check = seconds * len(runner.val_dataloader) if self._check_seconds is None and runner.val_loop else self._check_seconds
            left = (runner.max_iters - step) * seconds + checks_left(runner, step) * (check or 0)
            parts.append(f"eta: {clock(left)}")
        return "  ".join(parts)


def speed(runner: Runner, seconds: float) -> float:
    """Images per second of all ranks: as ``ThroughputHook`` has it, else by the seconds of a step."""
    logged = runner.message_hub.log_scalars.get("train/images_per_s")
    return logged.mean(RECENT) if logged else runner.train_dataloader.batch_sampler.batch_size * runner.world_size / seconds


def checks_left(runner: Runner, step: int) -> int:
    """Validations that are to come after a step: at each interval, and where none is due at the end, that of the report."""
    loop = runner.train_loop
    if runner.val_loop is None:
        return 0
    if isinstance(loop, EpochBasedTrainLoop):
        return loop.max_epochs // loop.val_interval - runner.epoch // loop.val_interval
    return -(-loop.max_iters // loop.val_interval) - step // loop.val_interval


def results(found: dict[int, dict[str, float]]) -> str:
    """A table of the metrics: at the last validation, and at the first."""
    first, last = min(found), max(found)
    steps = dict.fromkeys((first, last))
    heads = ["untrained" if step == 0 else f"step {step}" for step in steps]
    rows = [[name, *(f"{found[step][name]:.4f}" if name in found[step] else "" for step in steps)] for name in found[last]]
    return aligned([["results", *heads], *rows])


def clock(seconds: float) -> str:
    """1:02:03, for people."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _bar(runner: Runner) -> "Progress | None":
    """A bar where somebody looks at a terminal; the other ranks have none."""
    if runner.rank or not sys.stdout.isatty() or screen().is_dumb_terminal or runner.logger.handlers[0].level > logging.INFO:
        return None
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    quiet: dict[str, Any] = {"auto_refresh": False, "redirect_stdout": False, "redirect_stderr": False}
    return Progress(*columns, TextColumn("{task.fields[told]}"), console=screen(), expand=True, **quiet)
