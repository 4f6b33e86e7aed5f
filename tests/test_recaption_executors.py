"""The same bytes from each executor, and what becomes of tasks whose process dies."""

import shutil
import subprocess
import sys
from collections import Counter

import pytest
from pyarrow import parquet
from test_recaption import run, settings

from finevit.recaption.executors.process_pool import ProcessPool
from finevit.recaption.work import Task
from finevit.shards import manifest

SLURM = shutil.which("sinfo") is not None and subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0


def files(work_dir):
    """Names, which hold hashes, and the hashes of all files of the dataset."""
    listed = [file for shard in manifest.load(work_dir / "dataset").shards for file in shard.files.values()]
    assert len(listed) == 15
    return sorted((file.path, file.sha256) for file in listed)


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("serial")
    report, _ = run(settings(), work_dir)
    assert not report.errors
    return files(work_dir)


def executed(executor, work_dir):
    told = {**settings(), "executor": executor}
    report, _ = run(told, work_dir)
    assert not report.errors
    return files(work_dir)


def test_a_pool_writes_the_same_bytes(serial, tmp_path):
    assert executed({"type": "ProcessPool", "workers": 2}, tmp_path) == serial


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")  # of Ray and submitit
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_ray_writes_the_same_bytes(serial, tmp_path):
    assert executed({"type": "RayData", "cpus": 0.5}, tmp_path) == serial


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")  # of Ray and submitit
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", pytest.param("slurm", marks=pytest.mark.skipif(not SLURM, reason="no Slurm here"))])
def test_an_array_of_jobs_writes_the_same_bytes(serial, tmp_path, cluster):
    assert executed({"type": "SlurmArray", "cluster": cluster, "shards_per_job": 2}, tmp_path) == serial


def test_a_task_whose_process_dies_fails_and_the_others_go_on(tmp_path):
    told = settings(per_shard=4)
    told["passes"] = {"index": told["passes"]["index"], "captions": dict(told["passes"]["captions"])}
    run({**told, "passes": {"index": told["passes"]["index"]}}, tmp_path)
    second = parquet.read_table(tmp_path / "passes/index/00001.images.parquet")["sample_id"].to_pylist()
    deadly = {"type": "DeadlyCaptioner", "sample": second[1]}
    told["passes"]["captions"]["captioners"] = {"a": deadly}
    pool = ProcessPool(workers=1)

    tasks = [Task(told, str(tmp_path), "captions", shard, tuple(sys.path)) for shard in ("00000", "00001", "00002")]
    outcomes = {outcome.shard: outcome for outcome in pool.run(tasks)}
    pool.close()
    assert Counter(outcome.state for outcome in outcomes.values()) == {"done": 2, "failed": 1}
    assert "died 3 times" in outcomes["00001"].error
