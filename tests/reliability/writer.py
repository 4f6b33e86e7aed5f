"""A process that writes checkpoints with the run's own hook, one after the other, for trials that cut it off.

It imports once. Each line of its input, ``FOLDER<tab>PROGRESS<tab>MIRROR``, is a child, whose process id it prints: it goes on from
the folder's newest checkpoint, keeps one, of weights that all equal the step, and notes a step in the file ``PROGRESS`` once its
checkpoint stands. With ``MIRROR``, what was synced is kept there.
"""

import os
import sys
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from power import drop_unsynced
from torch import nn

from finevit.engine.hooks.checkpoint_hook import DurableCheckpointHook
from finevit.engine.newest_checkpoint import newest

VALUES = 1 << 20


class Counting(nn.Module):
    """Weights that all equal the step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(VALUES))

    def train_step(self, data: object, optim_wrapper: object) -> dict:
        """Adds 1."""
        self.weight.data += 1
        return {}


class Progress(Hook):
    """Notes a step when its checkpoint stands."""

    priority = "LOWEST"

    def __init__(self, path: Path) -> None:
        self.path = path

    def after_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
        draft = self.path.with_suffix(".draft")
        draft.write_text(str(runner.iter + 1))
        draft.replace(self.path)


def write(work_dir: Path, progress: Path) -> None:
    """Trains until it is killed, with a checkpoint after each step."""
    found, _ = newest(str(work_dir))
    runner = Runner(
        model=Counting(),
        work_dir=str(work_dir),
        train_dataloader={"batch_size": 1, "dataset": [0] * 8, "sampler": {"type": "InfiniteSampler"}, "num_workers": 0},
        train_cfg={"by_epoch": False, "max_iters": 1_000_000},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        default_hooks={
            "checkpoint": {"type": DurableCheckpointHook, "interval": 1, "by_epoch": False, "max_keep_ckpts": 1},
            "logger": None,
        },
        custom_hooks=[Progress(progress)],
        resume=found is not None,
        load_from=found,
        log_level="ERROR",
        experiment_name=str(os.getpid()),
    )
    runner.train()


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        folder, progress, mirror = line.rstrip("\n").split("\t")
        child = os.fork()
        if not child:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # MMEngine prints what it loads
            if mirror:
                drop_unsynced(Path(folder), Path(mirror))
            write(Path(folder), Path(progress))
        print(child, flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)
