"""Checkpoints that a kill cannot tear and that need no memory of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
