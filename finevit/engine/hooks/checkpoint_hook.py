"""MMEngine's checkpoint hook, made durable: whatever is killed or fails, and when, a whole checkpoint stands."""

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import mmengine.runner as package
import torch
from annotated_types import Gt, Le
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner, runner, save_checkpoint

from finevit.hub.stand_ins import plain
from finevit.hub.weights import check_finite
from finevit.registry import HOOKS
from finevit.storage.durable import remove, write_file

Minutes = Annotated[float, Gt(0), Le(math.inf), "minutes"]
NOTE = "last_checkpoint"
"""The file of the work dir that names the newest checkpoint, for people and for MMEngine; a resume does not depend on it."""


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """MMEngine's hook, with files written straight to disk under a temporary name and renamed when complete and synced.

    MMEngine builds a file in memory, twice (20 GB for FineViT-L with its optimiser), writes it under its final name, and removes
    the old one before. Here the old one goes when the new one stands, and the note of it; of two that are kept there are three for
    a moment. Paths of remote backends are left to MMEngine.

    Args:
        minutes: beside the checkpoints by ``interval``, one is saved after the step at which the last one, whatever it was saved
            for, is so many minutes old; of an accumulation of gradients after its last step. None: by ``interval`` alone.
        settings: those of MMEngine's hook.
    """

    keep_ckpt_ids: deque

    def __init__(self, *, minutes: Minutes | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        if minutes is not None and self.by_epoch:
            raise ValueError(
                f"default_hooks.checkpoint.minutes={minutes!r} needs by_epoch=False: no run can go on in the middle of an epoch"
            )
        self.minutes = minutes
        self._saved, self._since = 0, time.monotonic()

    def before_train(self, runner: Runner) -> None:
        self._since = time.monotonic()
        steps = [step for step in runner.message_hub.get_info("keep_ckpt_ids", []) if isinstance(step, int)]
        super().before_train(runner)
        for each in steps[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 and is_main_process() else ():
            self._remove(self._path(each))  # with its SHA-256
        step = runner.epoch if self.by_epoch else runner.iter
        resumed = self._path(step)
        if step and self.file_backend.isfile(resumed):
            self.last_ckpt = resumed  # a validation that is made up for writes it once more, with what it found

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Before its weights are taken over."""
        check_finite(runner, checkpoint)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        step = runner.iter + 1
        if self.minutes and step >= self.save_begin and between_updates(runner) and self._is_old(step):
            runner.logger.info(f"Saving checkpoint at {step} iterations: the last one is {self.minutes:g} minutes old")
            self._save_checkpoint(runner)

    def _is_old(self, step: int) -> bool:
        """Whether the last checkpoint is, by the clock of the main process."""
        old = torch.tensor(self._saved != step and time.monotonic() - self._since >= 60 * (self.minutes or 0))
        broadcast(old)
        return bool(old)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = self._outdated(runner, step)
        self.last_ckpt = self._path(step)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        with writing_durably():
            runner.save_checkpoint(
                self.out_dir,
                self.filename_tmpl.format(step),
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        if is_main_process():
            write_file(Path(runner.work_dir) / NOTE, lambda file: file.write(str(self.last_ckpt).encode()))
            for each in outdated:
                self._remove(self._path(each))
        self._saved, self._since = step, time.monotonic()

    def _outdated(self, runner: Runner, step: int) -> list[int]:
        """The steps whose checkpoints go once that of ``step`` stands. It names them too: a run that was killed in between, and
        goes on from it, removes them at its start."""
        if self.max_keep_ckpts <= 0:
            return []
        steps = [*(each for each in self.keep_ckpt_ids if each != step), step]
        runner.message_hub.update_info("keep_ckpt_ids", steps)
        self.keep_ckpt_ids = deque(steps, self.max_keep_ckpts)
        return steps[: -self.max_keep_ckpts]

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """MMEngine removes what it knows as the best so far before it writes a better one: it is not told."""
        one, several = getattr(self, "best_ckpt_path", None), getattr(self, "best_ckpt_path_dict", {})
        self.best_ckpt_path, self.best_ckpt_path_dict = None, dict.fromkeys(several)
        with writing_durably():
            super()._save_best_checkpoint(runner, metrics)
        self.best_ckpt_path = self.best_ckpt_path or one
        self.best_ckpt_path_dict = {key: path or several[key] for key, path in self.best_ckpt_path_dict.items()}
        gone = {one, *several.values()} - {None, self.best_ckpt_path, *self.best_ckpt_path_dict.values()}
        for path in gone if is_main_process() else ():
            self._remove(str(path))
            runner.logger.info(f"The previous best checkpoint {path} is removed")

    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        with writing_durably():
            super()._publish_model(runner, ckpt_path)

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _remove(self, path: str) -> None:
        if self.file_backend.isdir(path):  # of DeepSpeed
            self.file_backend.rmtree(path)
        elif "://" not in path:
            remove(path)
        elif self.file_backend.isfile(path):
            self.file_backend.remove(path)


def between_updates(runner: Runner) -> bool:
    """Whether no accumulation of gradients is under way, which no checkpoint holds."""
    at_one = getattr(runner.optim_wrapper, "should_update", None)
    return at_one is None or bool(at_one())


def folders_of(work_dir: str, out_dirs: Iterable[Any]) -> Iterator[Path]:
    """Where ``CheckpointHook.out_dir`` leads, as MMEngine joins it."""
    for out_dir in out_dirs:
        if out_dir and "://" not in str(out_dir):
            yield Path(out_dir) / Path(work_dir).name


@contextmanager
def writing_durably() -> Iterator[None]:
    """MMEngine has no setting for how a checkpoint is written: its function is replaced for the moment of saving."""
    runner.save_checkpoint = package.save_checkpoint = write
    try:
        yield
    finally:
        runner.save_checkpoint = package.save_checkpoint = save_checkpoint


def write(checkpoint: dict, filename: str, *arguments: Any, **options: Any) -> None:
    """Writes a checkpoint to ``filename``, completely or not at all, and its SHA-256 beside it; ``ValueError`` on a full disk."""
    if "://" in filename:
        save_checkpoint(checkpoint, filename, *arguments, **options)
        return
    try:
        write_file(filename, lambda file: torch.save(plain(checkpoint), file), digest=True)
    except OSError as error:
        raise ValueError(
            f"the checkpoint {filename!r} cannot be written ({error.strerror or error}); those before it are whole. Make room, "
            "then go on from the newest of them: the same command with --resume"
        ) from error
