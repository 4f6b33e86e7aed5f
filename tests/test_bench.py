"""tools/bench.py: what is counted, that peers are of one size, what comes out."""

import json
import math
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import data, encoder, loss, output, packs, stage, work
from benchmarks.speed.encoders import ENCODERS, OURS, Unavailable
from benchmarks.speed.measure import in_turn, peak_memory, ratio
from finevit.ops.patches import patchify
from finevit.planning.flops import traced_flops

ROOT = Path(__file__).parents[1]

SIZE = work.Size(depth=3, dim=32, heads=2, mlp_dim=40, patch=14)
GRIDS = ((4, 6), (2, 2), (6, 4))
CPU = torch.device("cpu")


@pytest.mark.filterwarnings("ignore:.*torch.jit:")
def test_flops_equal_those_that_fvcore_counts():
    made = encoder.build(OURS, SIZE, GRIDS)
    operators = traced_flops(made.model, made.inputs)
    assert operators["linear"] + operators["scaled_dot_product_attention"] == work.forward_flops(SIZE, GRIDS)
    assert set(operators) <= {"linear", "scaled_dot_product_attention", "matmul"}


def test_flops_of_training_equal_those_that_torch_counts():
    """torch counts the backward pass of attention with the product that it computes again, half of a forward pass."""
    made = encoder.build(OURS, SIZE, GRIDS)
    with FlopCounterMode(display=False) as counter:
        made.model(*made.inputs).sum().backward()
    again = SIZE.depth * sum(2 * (rows * cols) ** 2 * SIZE.dim for rows, cols in GRIDS)
    assert counter.get_total_flops() - again == work.training_flops(SIZE, GRIDS)


def test_flops_by_hand():
    size = work.Size(depth=1, dim=4, heads=1, mlp_dim=6, patch=1)
    assert work.forward_flops(size, [(1, 2)]) == 2 * 2 * 3 * 4 + 2 * 2 * (4 * 16 + 3 * 24) + 2 * 2 * 4 * 4
    large = work.training_flops(work.SIZES["large"], work.WORKLOADS["448"]) / 4
    assert large == pytest.approx(5.8e12, rel=0.01)  # an image of 448^2 pixels


def test_the_native_images():
    assert work.patches(work.WORKLOADS["native"]) == 4572
    assert packs.fill([[[rows * cols] for rows, cols in work.WORKLOADS["native"]]]) == pytest.approx(0.54, abs=0.005)
    assert len({rows / cols for rows, cols in work.WORKLOADS["native"]}) > 8
    assert all(side % 2 == 0 for grids in work.WORKLOADS.values() for grid in grids for side in grid)


@pytest.mark.parametrize("name", ENCODERS)
def test_blocks_have_equally_many_weights(name):
    """In the matrices of the blocks; whatever else an encoder has is small."""
    size = work.SIZES["quick"]
    try:
        made = encoder.build(name, size, GRIDS)
    except Unavailable as reason:
        pytest.skip(str(reason))
    blocks = next(part for title, part in made.model.named_modules() if title.rpartition(".")[2] in ("blocks", "layers"))
    matrices = sum(weight.numel() for weight in blocks.parameters() if weight.ndim == 2)
    assert matrices == size.depth * (4 * size.dim**2 + 3 * size.dim * size.mlp_dim)
    tokens = made.model(*made.inputs)
    assert tokens.shape[-1] == size.dim
    assert tokens.isfinite().all()
    encoder.step_of(made, "training", CPU, torch.float32)()
    compiled = encoder.build(name, size, GRIDS, compiled=True).model
    assert sum(module._compiled_call_impl is not None for module in compiled.modules()) == size.depth


def test_steps_are_measured_in_turn():
    order: list[str] = []
    seconds = in_turn({name: lambda name=name: order.append(name) for name in "ab"}, device=CPU, rounds=2)
    assert order == ["a", "b"] * 3
    assert [len(each) for each in seconds.values()] == [2, 2]
    assert ratio([4.0, 9.0, 2.0], [2.0, 3.0, 2.0]) == 2.0


def allocating(count: int):
    return lambda: torch.ones(count, dtype=torch.uint8)


def test_memory_is_that_of_the_step():
    """Roughly: meanwhile the system may take back pages of libraries."""
    assert peak_memory(allocating, 200 * 2**20, device=CPU) == pytest.approx(
        200 * 2**20, rel=0.2
    )  # pages of libraries may go meanwhile


def test_the_table():
    columns = (output.Column("name", "name"), output.Column("rate", "a second", ",.1f"))
    rows = [{"name": "a", "rate": 1234.56}, {"name": "bcd", "other": 1}]
    assert output.table(rows, columns).splitlines() == [
        "| name | a second |",
        "| ---- | -------: |",
        "| a    |  1,234.6 |",
        "| bcd  |        - |",
    ]


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys) -> Callable[[str], tuple[str, dict]]:
    """Runs the tool in this process, which it leaves as it was; what it printed, and its JSON."""

    def run(name: str) -> tuple[str, dict]:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setattr(sys, "argv", ["bench.py", name, "--quick", "--out", str(tmp_path), "--threads", "1"])
        threads, others = torch.get_num_threads(), cv2.getNumThreads()
        try:
            runpy.run_path(str(ROOT / "tools/bench.py"), run_name="__main__")
        finally:
            torch.set_num_threads(threads)
            cv2.setNumThreads(others)
        return capsys.readouterr().out, json.loads((tmp_path / f"{name}.json").read_text())

    return run


def test_encoder(bench, tmp_path):
    printed, found = bench("encoder")
    measured = [row for row in found["rows"] if "rate" in row]
    ours = {row["mode"]: row for row in measured if row["encoder"] == OURS}
    for row in measured:
        assert row["rate"] == pytest.approx(row["patches"] / row["seconds"][0])
        assert row["ours"] == pytest.approx(ours[row["mode"]]["rate"] / row["rate"])
        flops = encoder.MODES[row["mode"]](work.SIZES["quick"], work.WORKLOADS["quick"])
        if row["encoder"] == "mmpretrain-vit":
            assert row["patches"] == 3 * 16
        else:
            assert row["patches"] == 52
            assert row["fraction"] == pytest.approx(flops / row["seconds"][0] / row["limit"])
        if row["encoder"] in (OURS, "mmpretrain-vit"):
            assert row["computed"] == 1
        if row["encoder"] == "timm-naflexvit":  # padded to the largest
            padded = work.forward_flops(work.SIZES["quick"], ((4, 6),) * 3)
            assert row["computed"] == pytest.approx(padded / work.forward_flops(work.SIZES["quick"], work.WORKLOADS["quick"]))
    missing = [row for row in found["rows"] if "reason" in row]
    assert len(measured) + len(missing) == 2 * len(ENCODERS)
    assert all(f"{row['encoder']} was not measured: {row['reason']}" in printed for row in missing)
    assert printed.splitlines()[0].split(" | ")[2].strip() == "encoder"
    assert found["machine"]["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert "<svg" in (tmp_path / "encoder.svg").read_text()


@pytest.mark.parametrize("name", loss.LOSSES)
def test_both_sides_compute_the_same_loss(name):
    torch.manual_seed(0)
    found = {}
    for side, compute in loss.losses(name, chunk=4).items():
        torch.manual_seed(0)
        leaves = [torch.randn(10, 6).requires_grad_() for _ in range(2)]
        value = compute(*leaves, torch.tensor(2.0), torch.tensor(-1.0))
        found[side] = value, *torch.autograd.grad(value, leaves)
    for own, other in zip(found[loss.OURS], found[loss.PEER], strict=True):
        assert torch.allclose(own, other, atol=1e-6)


def test_loss(bench):
    _, found = bench("loss")
    assert [(row["loss"], row["side"], row["batch"]) for row in found["rows"]] == [
        (name, side, 64) for name in loss.LOSSES for side in (loss.OURS, loss.PEER)
    ]
    for own, other in zip(found["rows"][::2], found["rows"][1::2], strict=True):
        assert own["faster"] == 1
        assert other["faster"] == pytest.approx(other["milliseconds"] / own["milliseconds"])


def test_the_decoder_alone_makes_our_patches(tmp_path):
    """What ours is compared with does the same work: equal pixels, of 1 megapixel JPEGs at half their scale."""
    files = data.write_images(tmp_path, 2, 1.0)
    dataset, _ = data.ours(tmp_path, 448)
    for index, file in enumerate(files):
        sample = dataset[index]
        height, width = (14 * side for side in sample["shape"])
        assert 0.9 * 448**2 < height * width <= 448**2
        assert np.array_equal(patchify(data.pillow(file.read_bytes(), height, width), 14), sample["patches"])
        other = data.opencv(file.read_bytes(), height, width)
        assert np.abs(patchify(other, 14).astype(int) - sample["patches"]).mean() < 2


def test_the_pictures_are_like_photographs(tmp_path):
    (file,) = data.write_images(tmp_path, 1, 1.0)
    with Image.open(file) as image:
        assert image.width * image.height == pytest.approx(1e6, rel=0.01)
    assert 1 < 8 * file.stat().st_size / 1e6 < 4  # bits a pixel


def test_data(bench):
    _, found = bench("data")
    rates = {row["pipeline"]: row["rate"] for row in found["rows"]}
    assert list(rates) == [data.OURS, *data.DECODERS, "torchvision folder"]
    for row in found["rows"]:
        assert row["rate"] == pytest.approx(4 / row["seconds"][0])
        assert row["ours"] == pytest.approx(rates[data.OURS] / row["rate"])


def test_fill_and_imbalance_by_hand():
    plan = packs.in_order([4, 2, 1, 1, 3, 1, 9], ranks=2, batch=2)
    assert plan == [[[4, 2], [1, 1]]]
    assert packs.fill(plan) == 8 / (2 * 6)
    size = work.Size(depth=1, dim=4, heads=1, mlp_dim=4, patch=1)
    dear, cheap = (sum(work.forward_flops(size, [(1, length)]) for length in pack) for pack in plan[0])
    assert packs.imbalance(plan, size) == pytest.approx(dear / ((dear + cheap) / 2) - 1)
    assert packs.imbalance([[[4, 2]]], size) == 0
    assert packs.fill([[[4, 2], [3, 3]]]) == 1


def test_balanced_plans_hold_every_image_of_their_windows_once():
    lengths = list(range(100, 126))
    plan = packs.balanced(lengths, ranks=2, batch=2, window=12)
    assert [sorted(length for step in window for pack in step for length in pack) for window in (plan[:3], plan[3:])] == [
        lengths[:12],
        lengths[12:24],
    ]


def test_native_lengths():
    lengths = packs.native_lengths(4000, 1008**2, 14)
    assert max(lengths) == 72**2
    assert min(lengths) >= 200
    assert sum(length > 0.95 * 72**2 for length in lengths) / len(lengths) == pytest.approx(
        math.log(4e6 / 1008**2) / math.log(80), abs=0.03
    )
    assert lengths == packs.native_lengths(4000, 1008**2, 14)


@pytest.mark.slow
def test_stage(tmp_path):
    """In a process of its own: the runner leaves its log open."""
    command = [sys.executable, "tools/bench.py", "stage", "--quick", "--out", str(tmp_path), "--threads", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "stage.json").read_text())
    real, *simulated = found["rows"]
    assert real["images"] * real["seconds"] == pytest.approx(2, rel=1)
    assert 200 < real["patches"] / real["images"] <= 256
    assert 0 < real["wait"] < 1
    assert real["fraction"] > 0
    plain, balanced = simulated[::2], simulated[1::2]
    assert [row["ranks"] for row in plain] == [row["ranks"] for row in balanced] == 2 * [1, 2, 4, 8, 16, 32, 64]
    assert {row["way"] for row in plain} == {"in order"}
    for before, after in zip(plain, balanced, strict=True):
        assert before["fill"] < after["fill"] <= 1  # packs of two images: some stay apart
        assert after["imbalance"] < before["imbalance"] or before["ranks"] == 1
    full = stage.simulated(work.SIZES["large"], 8, 448, (1, 64), 8192)
    assert all(row["fill"] >= 0.98 and row["imbalance"] <= 0.01 for row in full if row["way"] == "balanced")


@pytest.mark.slow
def test_startup(bench):
    _, found = bench("startup")
    torch_imported, first_step = (row["seconds"] for row in found["rows"])
    assert 0 < torch_imported < first_step
