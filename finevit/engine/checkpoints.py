"""Checkpoints that a kill cannot tear and that need no memory of their own."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from mmengine.dist import barrier
from mmengine.hooks import CheckpointHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, runner, save_checkpoint
from torch import Tensor

from finevit.registry import HOOKS


@HOOKS.register_module()
class StreamingCheckpointHook(CheckpointHook):
    """MMEngine's hook, with files written straight to disk under a temporary name and renamed when complete.

    MMEngine builds a file in memory, twice (20 GB for FineViT-L with its optimiser), and writes it under its final name, so that
    a kill in the middle leaves a torn newest checkpoint. Paths of remote backends are left to MMEngine.

    A checkpoint that is loaded must be of this model: MMEngine takes over what fits by name and shape, and trains the rest anew.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        weights = {name.removeprefix("module."): value for name, value in checkpoint.get("state_dict", checkpoint).items()}
        setting = "resume" if runner._resume else "load_from"
        runner.logger.info(f"{setting}: {taken_over(model.state_dict(), weights, setting=setting)}")

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with _streaming():
            super()._save_checkpoint_with_step(runner, step, meta)


def save_now(runner: Runner) -> str:
    """Writes a checkpoint between two steps, as the run's own hook does; its path. Every rank waits for it."""
    hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
    if hook is None:
        hook = StreamingCheckpointHook(by_epoch=False)
        hook.before_train(runner)
    hook._save_checkpoint_with_step(runner, runner.iter, meta={"epoch": runner.epoch, "iter": runner.iter})
    barrier()
    return str(hook.last_ckpt)


_REMEDIES = {
    "resume": "restore the model's settings, or start a new run without --resume",
    "load_from": "give the backbone the checkpoint's settings, or load another checkpoint",
    "checkpoint": "test it with the config that it was trained with",
}
"""Where a checkpoint does not fit, by the setting that names it."""
_WHOLE = {"llm": "set model.llm with its train and lora as in the checkpoint, or load a checkpoint without a language model"}
"""Parts that are of no use if a checkpoint fills them in part, with the remedy."""


def taken_over(model: dict[str, Tensor], weights: dict[str, Tensor], *, setting: str) -> str:
    """Which of the model's parts (first names of its tensors) a checkpoint fills and which start new, for people.

    Raises ``ValueError`` where it does not fill the whole backbone or, to resume a run, the whole model; and where it fills a
    language model in part (with LoRA into one without, or the reverse).
    """
    fits = {name for name, value in model.items() if name in weights and weights[name].shape == value.shape}
    needed = [name for name in (*model, *weights) if setting != "load_from" or name.startswith("backbone.")]
    differ = [name for name in dict.fromkeys(needed) if name not in fits]
    if differ or not fits:
        shapes = [f"{name} {_shape(weights, name)} there, {_shape(model, name)} here" for name in (differ or list(model))[:3]]
        count = len(differ or model)
        raise ValueError(
            f"{setting}: the checkpoint is of another model; {count} tensors differ: {'; '.join(shapes)}; {_REMEDIES[setting]}"
        )
    _check_whole(model, weights, fits, setting)
    parts: dict[str, list[str]] = {}
    for name in model:
        parts.setdefault(name.partition(".")[0], []).append(name)
    new = [part for part, names in parts.items() if fits.isdisjoint(names)]
    partly = [part for part, names in parts.items() if part not in new and not fits.issuperset(names)]
    taken = [part for part in parts if part not in (*new, *partly)]
    said = (("taken over", taken), ("taken over in part, the rest starts new", partly), ("start new", new))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in said if names)


def _check_whole(model: dict[str, Tensor], weights: dict[str, Tensor], fits: set[str], setting: str) -> None:
    """``ValueError`` where a checkpoint fills some of a part that makes sense as a whole alone; none of it is fine."""
    for part, remedy in _WHOLE.items():
        differ = [name for name in dict.fromkeys((*model, *weights)) if name.startswith(f"{part}.") and name not in fits]
        if differ and any(name.startswith(f"{part}.") for name in fits):
            shapes = [f"{name} {_shape(weights, name)} there, {_shape(model, name)} here" for name in differ[:3]]
            raise ValueError(
                f"{setting}: the checkpoint fills {part} in part alone; {len(differ)} tensors differ: {'; '.join(shapes)}; {remedy}"
            )


def _shape(tensors: dict[str, Tensor], name: str) -> str:
    return f"is {list(tensors[name].shape)}" if name in tensors else "is not"


def newest(work_dir: str) -> str | None:
    """The checkpoint that a run in ``work_dir`` wrote last, also where the folder was moved since; None where there is none."""
    note = Path(work_dir) / "last_checkpoint"
    written = Path(note.read_text().strip()) if note.is_file() else Path()
    return next((str(path) for path in (written, note.parent / written.name) if path.is_file()), None)


def check_resumable(checkpoint: str) -> None:
    """Raise ``ValueError`` where a file is no whole checkpoint of a training run."""
    _check(
        checkpoint, "resume", {"meta", "state_dict", "optimizer"}, "give another with --resume FILE, or start anew without --resume"
    )


def check_loadable(checkpoint: str) -> None:
    """Raise ``ValueError`` where a file holds no weights that could be read."""
    _check(checkpoint, "load_from", set(), "give another with --cfg-options load_from=FILE")


def _check(checkpoint: str, setting: str, needed: set[str], remedy: str) -> None:
    if "://" in checkpoint:
        return
    path = Path(checkpoint).expanduser()
    try:
        parts = torch.load(path, map_location="cpu", weights_only=False, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # damaged files raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{setting}: {checkpoint!r} cannot be read as a checkpoint ({reason}); {remedy}") from error
    if absent := needed - set(parts if isinstance(parts, dict) else ()):
        raise ValueError(f"{setting}: {checkpoint!r} lacks {', '.join(sorted(absent))}, so no run can go on from it; {remedy}")
    if not isinstance(parts, dict):
        raise ValueError(f"{setting}: {checkpoint!r} holds no weights by name but a {type(parts).__name__}; {remedy}")


def check_writable(work_dir: str) -> None:
    """Make the work dir; raise ``ValueError`` where it cannot be written."""
    try:
        Path(work_dir).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=work_dir):
            pass
    except OSError as error:
        raise ValueError(f"work_dir={work_dir!r} cannot be written ({error.strerror}); give another with --work-dir") from error


@contextmanager
def _streaming() -> Iterator[None]:
    """MMEngine has no setting for how a checkpoint is written: its function is replaced for the moment of saving."""
    runner.save_checkpoint = write
    try:
        yield
    finally:
        runner.save_checkpoint = save_checkpoint


def write(checkpoint: dict, filename: str, *arguments: Any, **options: Any) -> None:
    """Writes a checkpoint to ``filename``, completely or not at all."""
    if "://" in filename:
        save_checkpoint(checkpoint, filename, *arguments, **options)
        return
    unfinished = f"{filename}.unfinished"
    torch.save(checkpoint, unfinished)
    os.replace(unfinished, filename)
