"""Ranks that were started otherwise than ``--launcher`` says are refused in a line, before anything heavy begins."""

import pytest
import torch

from finevit.engine import launch
from finevit.engine.launch import check_launcher

SLURM = {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_NODELIST": "a"}
TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("launcher", "environment", "said"),
    [
        (
            "pytorch",
            {},
            r"RANK, .*, MASTER_PORT not set, .*start with `torchrun --nproc-per-node=GPUS \.\.\.`, or leave --launcher out",
        ),
        ("slurm", {}, r"--launcher slurm: SLURM_PROCID, SLURM_NTASKS, SLURM_NODELIST not set, .*`srun python \.\.\.`"),
        ("mpi", {"OMPI_COMM_WORLD_RANK": "0"}, r"OMPI_COMM_WORLD_LOCAL_RANK, OMPI_COMM_WORLD_SIZE, MASTER_ADDR not set"),
        ("slrum", {}, r"launcher='slrum' is unknown \(did you mean 'slurm'\?\); choose none, pytorch, slurm, mpi"),
        ("none", TORCHRUN, r"WORLD_SIZE=2: 2 processes would do the same work .*; add --launcher pytorch"),
        ("none", {**SLURM, "SLURM_STEP_NUM_TASKS": "4"}, r"SLURM_STEP_NUM_TASKS=4: 4 processes .*; add --launcher slurm"),
        ("none", {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, "add --launcher mpi"),
    ],
)
def test_ranks_that_were_started_otherwise_are_refused(launcher, environment, said):
    with pytest.raises(ValueError, match=said):
        check_launcher(launcher, environment)


def test_ranks_need_a_gpu_each(monkeypatch):
    monkeypatch.setattr(launch, "get_device", lambda: "cpu")
    for launcher, environment in (("pytorch", TORCHRUN), ("slurm", SLURM)):
        with pytest.raises(
            ValueError, match="no GPU, and several ranks train on GPUs alone; start one process, without --launcher"
        ):
            check_launcher(launcher, environment)
    monkeypatch.setattr(launch, "get_device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_launcher("pytorch", TORCHRUN)
    with pytest.raises(ValueError, match="rank 1 of this machine has no GPU, there are 1; start 1 ranks on it"):
        check_launcher("pytorch", {**TORCHRUN, "LOCAL_RANK": "1"})


@pytest.mark.parametrize("environment", [{}, SLURM, {"WORLD_SIZE": "2"}, {**TORCHRUN, "WORLD_SIZE": "1"}], ids=str)
def test_one_process_is_no_several_ranks(environment):
    """A batch script of Slurm, a shell of a cluster that exports a size, and torchrun with one process."""
    check_launcher("none", environment)
