"""The training loop: MMEngine's, made exactly resumable."""

import math

import torch
from mmengine.dist import broadcast_object_list
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from finevit.console import say
from finevit.contracts import BadSample
from finevit.engine.cli import of_worker
from finevit.engine.hooks.bad_samples_hook import BadSamplesHook
from finevit.evaluation.results import Results
from finevit.ops.stateless_shuffle import seed_of
from finevit.planning.scheduled import check_schedules
from finevit.registry import LOOPS


@LOOPS.register_module()
class StatelessTrainLoop(IterBasedTrainLoop):
    """Every step is a pure function of (weights, seed, step, rank): data order, schedules and torch's random numbers.

    A resumed run therefore equals the uninterrupted one to the last bit on the same kind of machine, and starts at once: the batch
    sampler is told the step, no past batch is loaded again. Validation runs at multiples of ``val_interval`` before the end; the
    last one, and the first, belong to the report.
    """

    def __init__(
        self, *, runner: Runner, dataloader: DataLoader | dict, max_iters: int | float, val_interval: int | float = 1000
    ) -> None:
        for name, value in (("max_iters", max_iters), ("val_interval", val_interval)):
            if not isinstance(value, int | float) or value != int(value) or value < 1:
                raise ValueError(f"train_cfg.{name}={value!r}: give a whole number of steps, at least 1")
        super().__init__(runner, dataloader, int(max_iters), val_interval=int(val_interval))

    def run(self) -> torch.nn.Module:
        """Trains from the current step to ``max_iters``."""
        runner = self.runner
        check_schedules(runner)
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        self.dataloader.batch_sampler.start_step = self._iter
        if self._iter:
            say(f"Resuming at iteration {self._iter}: the data order continues where it stopped", runner.logger)
            self._make_up(runner)
        while self._iter < self._max_iters and not self.stop_training:
            runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            if runner.val_loop is not None and self._iter % self.val_interval == 0:
                validate(runner)
        runner.call_hook("after_train_epoch")
        runner.call_hook("after_train")
        return runner.model

    def _make_up(self, runner: Runner) -> None:
        """The validation of the step that a run goes on from, where the run was stopped before its result was written."""
        due = runner.val_loop is not None and self._iter % self.val_interval == 0
        if due and not evaluated(runner):
            say(f"validation at step {self._iter}: the run was stopped before its result was written", runner.logger)
            validate(runner)

    def run_iter(self, data_batch: dict) -> None:
        """One step, under a random seed of its own."""
        torch.manual_seed(seed_of(self.runner.seed, self._iter, self.runner.rank))
        super().run_iter(data_batch)


def evaluated(runner: Runner) -> bool:
    """Whether the work dir holds the result of the validation of this step; the main process looks."""
    results = Results(runner.work_dir)
    results.resume(math.inf)
    found = [bool(results.at(runner.iter))]
    broadcast_object_list(found)
    return found[0]


def validate(runner: Runner) -> None:
    """Runs the validation; where its images cannot be used (one held out of a few, and that one torn), training goes on without.

    Its random numbers are a function of seed, step and rank: it comes out the same where a resumed run makes up for it.
    """
    torch.manual_seed(seed_of(runner.seed, runner.iter, runner.rank))
    try:
        runner.val_loop.run()
    except BadSample as error:
        named = (of_worker(error) or str(error)).splitlines()[1:]
        listing = [hook for hook in runner.hooks if isinstance(hook, BadSamplesHook)]
        for hook in listing:
            hook.hold_out(runner, named)
        told = "" if listing else ":\n" + "\n".join(named)
        runner.logger.warning(f"no validation at step {runner.iter}: none of its images can be used{told}")
