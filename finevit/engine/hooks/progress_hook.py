"""What the log file and the curves of a run get; the line of the console is in ``finevit/engine/progress.py``."""

from functools import cached_property

from mmengine.hooks import LoggerHook
from mmengine.runner import Runner

from finevit.registry import HOOKS
from finevit.storage.places import Spared


@HOOKS.register_module()
class ProgressHook(LoggerHook):
    """MMEngine's line of all logged values, also at the last step of a run, however short; no step has two.

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
