"""How a run ends before its last step: by a signal, or by a loader that is dead or stuck; what it has learned is saved."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from finevit.console import say
from finevit.datasets.worker_board import died
from finevit.engine.checkpoints import save_now
from finevit.engine.hooks.checkpoint_hook import between_updates
from finevit.engine.hooks.loader_watch_hook import LoaderWatchHook
from finevit.signals import TOGETHER, Asked, Interrupted, Stuck, end_workers

GOING_ON = "to go on: the same command with --resume"


class EndingHook(Hook):
    """Ends a run between two steps where a signal asks for it: all ranks at the same step, for each may be the one that was asked.

    The last hook of a step, so that all that belongs to it is done. The run takes place within ``saving``. ``finevit train`` gives
    the hook to every run.
    """

    priority = "LOWEST"

    def __init__(self, *, asked: Asked, watch: LoaderWatchHook) -> None:
        self.asked, self.watch = asked, watch
        self.begun: int | None = None
        self.done = 0

    def before_train(self, runner: Runner) -> None:
        self.begun = runner.iter
        self.asked.waits = lambda: self.watch.waiting and runner.world_size == 1 and self._can_end(runner)
        self.asked.saves = True

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        self.done = runner.iter + 1
        self.end(runner)
        if runner.iter + 1 < runner.max_iters:
            self.watch.wait(runner, "train")
        self.watch.in_step = False

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None) -> None:
        self.end(runner)

    def after_val(self, runner: Runner) -> None:
        if not self.watch.in_step and self.begun is not None and runner.iter < runner.max_iters:
            self.watch.wait(runner, "train")

    def after_train(self, runner: Runner) -> None:
        self.end(runner)

    def end(self, runner: Runner) -> None:
        """Ends the run where a rank was asked to; every rank comes here."""
        if runner.world_size > 1:
            number = torch.tensor(self.asked.number, device=next(runner.model.parameters()).device)
            all_reduce(number, "max")
            self.asked.number = int(number)
        if self._can_end(runner):
            self.asked.raise_if_asked()

    def _can_end(self, runner: Runner) -> bool:
        """Not in an accumulation, nor where the first step has the untrained model validated, which no later start can make up."""
        return between_updates(runner) and not (self.watch.in_step and self.done <= runner.iter)


@contextmanager
def saving(runner: Runner, hook: EndingHook) -> Iterator[None]:
    """Around a run: what ends it between two steps is told, with the checkpoint that it leaves."""
    try:
        yield
        hook.end(runner)
    except Interrupted as signal:
        _interrupted(runner, hook, signal)
    except (Stuck, RuntimeError, ConnectionError, EOFError) as error:
        fault = str(error) if isinstance(error, Stuck) else died(error, hook.watch.whose)
        if not fault:
            raise
        hook.watch.came()
        time.sleep(TOGETHER)  # what ended the worker may be meant for the run
        if hook.asked.number:
            _interrupted(runner, hook, Interrupted(hook.asked.number))
        fault = f"{fault}. {_kept(runner, hook) if runner.world_size == 1 else GOING_ON}"
        runner.logger.info(f"the run ended: {fault}")
        end_workers(2, f"error: {fault}")
        raise ValueError(fault) from None


def _interrupted(runner: Runner, hook: EndingHook, signal: Interrupted) -> NoReturn:
    hook.watch.came()
    hook.asked.wait_until_told()
    say(f"{signal.name}: {_kept(runner, hook)}", runner.logger)
    end_workers(signal.code)
    raise SystemExit(signal.code) from None


def _kept(runner: Runner, hook: EndingHook) -> str:
    """Saves the steps that no checkpoint has; what stands now, for people."""
    if hook.begun is None:
        return "before the first step there is nothing to save; the same command starts again"
    step = max(hook.done, runner.iter + hook.watch.in_step)  # all of it is done, though perhaps not counted
    runner.train_loop._iter, hook.watch.in_step = step, False
    if step == hook.begun:
        went_on = f"no step was finished since {runner._load_from}; {GOING_ON}" if step and runner._resume else ""
        return went_on or "no step was finished, so there is nothing to save; the same command starts anew"
    if not between_updates(runner):
        return "an accumulation of gradients is under way, which no checkpoint holds; to go on from the newest: --resume"
    path = _saved(runner, step) or save_now(runner)
    return f"saved step {step} of {runner.max_iters} in {path}; {GOING_ON}"


def _saved(runner: Runner, step: int) -> str:
    """The checkpoint that the run has just written of a step, if it has."""
    for each in runner.hooks:
        if isinstance(each, CheckpointHook) and each.last_ckpt and not each.by_epoch:
            name = each.filename_tmpl.format(step)
            return str(each.last_ckpt) if str(each.last_ckpt).endswith(name) else ""
    return ""
