"""Checks in processes of their own, as ranks of one group: forked from a clean one that has imported MMEngine once for all."""

import warnings
from collections.abc import Callable
from multiprocessing import set_forkserver_preload
from pathlib import Path

import torch
import torch.distributed as dist
from torch import multiprocessing


def launch(check: Callable[..., None], *arguments: object, processes: int = 1) -> None:
    """Runs ``check(rank, *arguments)`` in new processes."""
    set_forkserver_preload(["mmengine.runner"])
    multiprocessing.start_processes(check, arguments, nprocs=processes, start_method="forkserver")


def in_world(check: Callable[..., None], world: int, meeting: Path, *arguments: object) -> None:
    """Runs ``check(rank, world, *arguments)`` in the ``world`` processes of one gloo group."""
    launch(one_rank, world, f"file://{meeting}", check, arguments, processes=world)


def one_rank(rank: int, world: int, meeting: str, check: Callable[..., None], arguments: tuple) -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    check(rank, world, *arguments)
    dist.destroy_process_group()
