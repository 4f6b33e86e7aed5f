"""Feed-forward and attention with their gradients written out, against the same block step by step."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from finevit.layers import Block
from finevit.ops import cpu_fused
from finevit.ops.attention import Pack
from finevit.ops.rope2d import rope_table

DIM, HEADS, HIDDEN = 64, 2, 96
LENGTHS = (35, 35, 64, cpu_fused.FEW + 20, 20)
PATCHES = sum(LENGTHS)


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch):
    monkeypatch.setattr(cpu_fused, "ROWS", 100)  # several times, and a rest


def make_block(dtype=torch.float32) -> Block:
    torch.manual_seed(0)
    block = Block(dim=DIM, heads=HEADS, mlp_dim=HIDDEN)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.2)
    return block.to(dtype)


def make_pack(dtype) -> Pack:
    positions = torch.randint(0, 24, (PATCHES, 2), generator=torch.Generator().manual_seed(1))
    offsets = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)], dtype=torch.int32)
    return Pack(offsets, LENGTHS, rope_table(positions, DIM // HEADS, 100.0, dtype))


def run(block: Block, *, written_out: bool, monkeypatch, autocast: bool = False) -> list[torch.Tensor]:
    """Output, and gradients of the input and all weights."""
    dtype = next(block.parameters()).dtype
    x, upper = torch.randn(2, PATCHES, DIM, generator=torch.Generator().manual_seed(2)).to(dtype)
    x.requires_grad_()
    with monkeypatch.context() as patch, torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        if not written_out:
            patch.setattr(cpu_fused, "suits", lambda *_: False)
        output = block(x, make_pack(torch.bfloat16 if autocast else dtype))
    output.backward(upper.to(output.dtype))
    return [output.detach(), x.grad, *(parameter.grad for parameter in block.parameters())]


def errors(found, truth) -> list[float]:
    return [float((a.double() - b.double()).norm() / b.double().norm()) for a, b in zip(found, truth, strict=True)]


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-13), (torch.float32, 3e-6)])
def test_outputs_and_gradients_are_those_of_the_steps(dtype, most, monkeypatch):
    steps = run(make_block(dtype), written_out=False, monkeypatch=monkeypatch)
    found = run(make_block(dtype), written_out=True, monkeypatch=monkeypatch)
    assert len(found) == 11
    assert max(errors(found, steps)) < most


def test_in_bfloat16_it_is_as_close_to_the_truth_as_the_steps_are(monkeypatch):
    truth = run(make_block(torch.float64), written_out=False, monkeypatch=monkeypatch)
    steps = errors(run(make_block(), written_out=False, monkeypatch=monkeypatch, autocast=True), truth)
    found = errors(run(make_block(), written_out=True, monkeypatch=monkeypatch, autocast=True), truth)
    assert 1e-3 < max(found) < 0.05  # bfloat16 it is
    assert all(ours < 1.25 * theirs for ours, theirs in zip(found, steps, strict=True)), (found, steps)


def kept_floats(block: Block, pack: Pack) -> float:
    """What the backward pass of a block keeps, weights aside, in numbers for each patch and channel."""
    mine = {parameter.untyped_storage().data_ptr() for parameter in block.parameters()}
    storages: dict[int, tuple[int, torch.UntypedStorage]] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in mine:
            storages[storage.data_ptr()] = (storage.nbytes(), storage)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        block(torch.randn(PATCHES, DIM, requires_grad=True), pack)
    return sum(size for size, _ in storages.values()) / (4 * PATCHES * DIM)


def test_it_keeps_less(monkeypatch):
    pack, hidden = make_pack(torch.float32), HIDDEN / DIM
    written_out = kept_floats(make_block(), pack)
    monkeypatch.setattr(cpu_fused, "suits", lambda *_: False)
    steps = kept_floats(make_block(), pack)
    # two norms (input and output), queries, keys, values and their output, gate and up; the rotary table and sums of few numbers
    assert written_out == pytest.approx(4 + 4 + 2 * hidden, abs=0.7)
    assert steps - written_out > 2 * hidden + 2  # silu, the product; rotated queries and keys


@pytest.mark.parametrize("frozen", ["feed_forward.down", "feed_forward.gate_up", "attention.qkv"])
def test_frozen_weights_get_no_gradient(frozen, monkeypatch):
    block = make_block()
    block.get_submodule(frozen).requires_grad_(False)
    whole = run(make_block(), written_out=True, monkeypatch=monkeypatch)
    found = run(block, written_out=True, monkeypatch=monkeypatch)
    names = ["output", "x", *(name for name, _ in block.named_parameters())]
    for name, one, other in zip(names, found, whole, strict=True):
        assert (one is None) == name.startswith(frozen)
        assert one is None or torch.equal(one, other)


def test_a_layer_that_is_replaced_or_watched_is_called(monkeypatch):
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    plain = run(make_block(), written_out=True, monkeypatch=monkeypatch)[0]
    block = make_block()
    block.feed_forward.down.__class__ = Doubled
    assert not torch.allclose(run(block, written_out=True, monkeypatch=monkeypatch)[0], plain)
    for name in ("attention.qkv", "feed_forward.gate_up"):
        block, seen = make_block(), []
        block.get_submodule(name).register_forward_hook(lambda _, __, output, seen=seen: seen.append(output.shape))
        torch.testing.assert_close(run(block, written_out=True, monkeypatch=monkeypatch)[0], plain)
        assert seen == [(PATCHES, block.get_submodule(name).out_features)]
