"""Checkpoints that a kill cannot tear and that need no memory of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner, runner, save_checkpoint

from finevit.registry import HOOKS


@HOOKS.register_module()
class StreamingCheckpointHook(CheckpointHook):
    """MMEngine's hook, with files written straight to disk under a temporary name and renamed when complete.

    MMEngine builds a file in memory, twice (20 GB for FineViT-L with its optimiser), and writes it under its final name, so that
    a kill in the middle leaves a torn newest checkpoint. Paths of remote backends are left to MMEngine.
    """

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with _streaming():
            super()._save_checkpoint_with_step(runner, step, meta)


def newest(work_dir: str) -> str | None:
    """The checkpoint that a run in ``work_dir`` wrote last, also where the folder was moved since; None where there is none."""
    note = Path(work_dir) / "last_checkpoint"
    written = Path(note.read_text().strip()) if note.is_file() else Path()
    return next((str(path) for path in (written, note.parent / written.name) if path.is_file()), None)


def check_resumable(checkpoint: str) -> None:
    """Raise ``ValueError`` where a file is no whole checkpoint of a training run."""
    if "://" in checkpoint:
        return
    remedy = "give another with --resume FILE, or start anew without --resume"
    try:
        parts = torch.load(Path(checkpoint).expanduser(), map_location="cpu", weights_only=False, mmap=True)
    except Exception as error:  # damaged files raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"resume: {checkpoint!r} cannot be read as a checkpoint ({reason}); {remedy}") from error
    if absent := {"meta", "state_dict", "optimizer"} - set(parts if isinstance(parts, dict) else ()):
        raise ValueError(f"resume: {checkpoint!r} lacks {', '.join(sorted(absent))}, so no run can go on from it; {remedy}")


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
