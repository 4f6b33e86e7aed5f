"""Whether the processes of a run were started as ``--launcher`` says; asked before anything heavy begins."""

import os
from collections.abc import Mapping

import torch
from mmengine.device import get_device

from finevit.suggest import did_you_mean

SETS = {
    "pytorch": ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", "MASTER_ADDR"),
}
"""What the environment of a process holds that each launcher started; the address with mpi is the user's."""
STARTS = {
    "pytorch": "torchrun --nproc-per-node=GPUS ...",
    "slurm": "srun python ...",
    "mpi": "mpirun -x MASTER_ADDR=HOST python ...",
}
RANKS = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_STEP_NUM_TASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}
LOCAL_RANK = {"pytorch": "LOCAL_RANK", "slurm": "SLURM_LOCALID", "mpi": "OMPI_COMM_WORLD_LOCAL_RANK"}


def check_launcher(launcher: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raise ``ValueError`` where MMEngine could not start the ranks that ``launcher`` stands for, or would start each alone."""
    if launcher == "none":
        _check_alone(environment)
        return
    if not isinstance(launcher, str) or launcher not in SETS:
        raise ValueError(f"launcher={launcher!r} is unknown{did_you_mean(str(launcher), SETS)}; choose none, {', '.join(SETS)}")
    if absent := [name for name in SETS[launcher] if name not in environment]:
        raise ValueError(
            f"--launcher {launcher}: {', '.join(absent)} not set, so this process was not started by it; start with "
            f"`{STARTS[launcher]}`, or leave --launcher out"
        )
    if get_device() in ("cpu", "mps"):
        raise ValueError(
            f"--launcher {launcher}: this machine has no GPU, and several ranks train on GPUs alone; start one process, without "
            "--launcher"
        )
    local, gpus = int(environment.get(LOCAL_RANK[launcher], 0)), torch.cuda.device_count()
    if torch.cuda.is_available() and local >= gpus:
        raise ValueError(
            f"--launcher {launcher}: rank {local} of this machine has no GPU, there are {gpus}; start {gpus} ranks on it"
        )


def _check_alone(environment: Mapping[str, str]) -> None:
    """Several processes that know nothing of each other would train the same into one work dir."""
    for launcher, name in RANKS.items():
        told = environment.get(name, "")
        if SETS[launcher][0] in environment and told.isdecimal() and int(told) > 1:
            raise ValueError(
                f"launcher='none', but {name}={told}: {told} processes would do the same work and write to the same files; add "
                f"--launcher {launcher} (finevit test: --cfg-options launcher={launcher}), or start one process "
                f"(unset {name} where there is only one)"
            )
