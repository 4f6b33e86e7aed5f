"""The contrastive objectives: hand arithmetic, all pairs at once, many ranks, open_clip's own losses, autocast, and memory."""

import ctypes
import re
import warnings
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from math import exp, log
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.distributed as dist
from ranks import in_world, launch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from finevit.ops.contrastive import sigmoid_loss, softmax_loss

MIB = 2**20
CASES = {1: (1, 1000), 2: (1, 5), 3: (1, 2), 7: (1, 5, 64), 64: (5, 64, 1000), 257: (64, 1000)}
"""Chunks for each batch: pieces of one, pieces that do and do not divide the batch, all at once."""


def plain_sigmoid(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    sign = 2 * torch.eye(len(image), dtype=image.dtype) - 1
    return -logsigmoid(sign * (scale * image @ text.T + bias)).sum() / len(image)


def plain_softmax(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    logits, truth = scale * image @ text.T, torch.arange(len(image))
    return (cross_entropy(logits, truth) + cross_entropy(logits.T, truth)) / 2 + 0 * bias


def chunked_softmax(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, **options) -> Tensor:
    return softmax_loss(image, text, scale, **options) + 0 * bias


OBJECTIVES = {"sigmoid": (sigmoid_loss, plain_sigmoid), "softmax": (chunked_softmax, plain_softmax)}


def leaves(batch: int, *, width: int = 16, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Matching unit vectors of which some are hard, scale and bias."""
    generator = torch.Generator().manual_seed(batch)
    image, noise = torch.randn(2, batch, width, generator=generator, dtype=dtype)
    parts = normalize(image, dim=-1), normalize(image + noise, dim=-1), torch.tensor(9.0), torch.tensor(-4.0)
    return [part.to(dtype).requires_grad_() for part in parts]


def value_and_gradients(objective, tensors: list[Tensor], **options) -> list[Tensor]:
    loss = objective(*tensors, **options)
    return [loss.detach(), *torch.autograd.grad(3 * loss, tensors)]


def assert_close(found: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-10) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def open_clip_losses() -> ModuleType:
    """open_clip's module of losses, without the models that its package loads."""
    spec = spec_from_file_location("open_clip_loss", Path(find_spec("open_clip").submodule_search_locations[0]) / "loss.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_by_hand():
    image, text = torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    two, minus_one = torch.tensor(2.0), torch.tensor(-1.0)
    logits = [[1.0, 0.2], [-1.0, 0.6]]  # 2 <image_i, text_j> - 1
    wanted = (log(1 + exp(-1)) + log(1 + exp(0.2)) + log(1 + exp(-1)) + log(1 + exp(-0.6))) / 2
    assert sigmoid_loss(image, text, two, minus_one).item() == pytest.approx(wanted)
    images = log(exp(1) + exp(0.2)) - 1 + log(exp(-1) + exp(0.6)) - 0.6
    texts = log(exp(1) + exp(-1)) - 1 + log(exp(0.2) + exp(0.6)) - 0.6
    assert softmax_loss(image, text, two).item() == pytest.approx((images + texts) / 4)
    leaf = minus_one.clone().requires_grad_()
    sigmoid_loss(image, text, two, leaf).backward()
    sigmoid = [[1 / (1 + exp(-z)) for z in row] for row in logits]
    assert leaf.grad.item() == pytest.approx((sigmoid[0][0] - 1 + sigmoid[0][1] + sigmoid[1][0] + sigmoid[1][1] - 1) / 2)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_equals_all_pairs(name):
    chunked, plain = OBJECTIVES[name]
    for batch, chunks in CASES.items():
        tensors = leaves(batch)
        wanted = value_and_gradients(plain, tensors)
        for chunk in chunks:
            assert_close(value_and_gradients(chunked, tensors, chunk=chunk), wanted)


def test_extreme_logits_keep_their_gradient():
    for scale in (1e3, 1e-3):
        tensors = [*leaves(9)[:2], *(torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (scale, 50.0))]
        for chunked, plain in OBJECTIVES.values():
            assert_close(value_and_gradients(chunked, tensors, chunk=4), value_and_gradients(plain, tensors), 1e-9)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_order_of_the_batch_does_not_matter(name):
    chunked = OBJECTIVES[name][0]
    image, text, scale, bias = leaves(64)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        chunked(image[order], text[order], scale, bias, chunk=5), chunked(image, text, scale, bias, chunk=64)
    )


def test_equals_open_clip():
    losses = open_clip_losses()
    for batch in (2, 7, 64):
        tensors = leaves(batch)
        assert_close(value_and_gradients(sigmoid_loss, tensors, chunk=5), value_and_gradients(losses.SigLipLoss(), tensors))
        theirs = value_and_gradients(losses.ClipLoss(), tensors[:3])
        assert_close(value_and_gradients(softmax_loss, tensors[:3], chunk=5), theirs)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_half_precision_is_computed_in_full(name):
    chunked, plain = OBJECTIVES[name]
    tensors = leaves(64, dtype=torch.float32)
    halves = [tensor.detach().bfloat16().requires_grad_() for tensor in tensors[:2]] + tensors[2:]
    wanted = value_and_gradients(plain, [half.detach().float().requires_grad_() for half in halves])
    with torch.autocast("cpu", torch.bfloat16):
        found = value_and_gradients(chunked, halves, chunk=32)
    assert [tensor.dtype for tensor in found] == [torch.float32, torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    assert_close(found[:1] + found[3:], wanted[:1] + wanted[3:], 1e-4)
    for gradient, exact in zip(found[1:3], wanted[1:3], strict=True):
        torch.testing.assert_close(gradient, exact.bfloat16(), rtol=1e-2, atol=1e-4)


def test_what_does_not_fit_is_refused():
    image, text, scale, bias = leaves(3)
    for wrong in (text[:2], text[:, :5], text[0]):
        with pytest.raises(ValueError, match=r"image \[3, 16\] and text .* one text for each image"):
            sigmoid_loss(image, wrong, scale, bias)
    with pytest.raises(ValueError, match="chunk=0"):
        softmax_loss(image, text, scale, chunk=0)


@pytest.mark.parametrize("world", [2, 4])
def test_many_ranks(tmp_path, world):
    in_world(check_ranks, world, tmp_path / "meeting")


def check_ranks(rank: int, world: int) -> None:
    for chunked, plain in OBJECTIVES.values():
        for batch, chunks in CASES.items():
            for chunk in chunks:
                check_one_batch(chunked, plain, rank, world, leaves(batch * world), chunk=chunk)
    check_against_open_clip(rank, world)
    check_data_parallel(rank, world)
    if world == 4:
        groups = [dist.new_group([0, 1]), dist.new_group([2, 3])]
        check_one_batch(sigmoid_loss, plain_sigmoid, rank % 2, 2, leaves(10 + rank // 2 * 2), chunk=2, group=groups[rank // 2])


def check_one_batch(chunked, plain, rank: int, world: int, everything: list[Tensor], **options) -> None:
    """The mean over ranks is the loss of all pairs, for the value and every gradient."""
    wanted = value_and_gradients(plain, everything)
    image, text = (tensor.detach().chunk(world)[rank].requires_grad_() for tensor in everything[:2])
    found = value_and_gradients(chunked, [image, text, *everything[2:]], **options)
    own = [tensor.chunk(world)[rank] * world for tensor in wanted[1:3]]
    for tensor in (found[0], *found[3:]):
        dist.all_reduce(tensor.div_(world), group=options.get("group"))
    assert_close(found, [wanted[0], *own, *wanted[3:]])


def check_against_open_clip(rank: int, world: int) -> None:
    """open_clip's losses of many ranks follow the same convention, if asked for the local rows."""
    losses, everything = open_clip_losses(), leaves(6 * world)
    own = [tensor.detach().chunk(world)[rank].requires_grad_() for tensor in everything[:2]] + everything[2:]
    theirs = losses.SigLipLoss(rank=rank, world_size=world)
    assert_close(value_and_gradients(sigmoid_loss, own, chunk=4), value_and_gradients(theirs, own))
    warnings.simplefilter("ignore")  # its gathering is deprecated
    theirs = losses.ClipLoss(local_loss=True, gather_with_grad=True, rank=rank, world_size=world)
    assert_close(value_and_gradients(softmax_loss, own[:3], chunk=4), value_and_gradients(theirs, own[:3]))


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(5, 8).double(), nn.Linear(6, 8).double()
        self.scale, self.bias = (nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in (3.0, -1.0))

    def forward(self, pixels: Tensor, words: Tensor) -> Tensor:
        image, text = normalize(self.image(pixels), dim=-1), normalize(self.text(words), dim=-1)
        return sigmoid_loss(image, text, self.scale, self.bias, chunk=3) + softmax_loss(image, text, self.scale, chunk=2)


def check_data_parallel(rank: int, world: int) -> None:
    """DistributedDataParallel ends with the gradient of all pairs in one process."""
    pixels, words = torch.randn(4 * world, 5).double(), torch.randn(4 * world, 6).double()
    for tensor in (pixels, words):
        dist.broadcast(tensor, 0)
    towers = nn.parallel.DistributedDataParallel(Towers())
    towers(pixels.chunk(world)[rank], words.chunk(world)[rank]).backward()
    alone = Towers()
    image, text = normalize(alone.image(pixels), dim=-1), normalize(alone.text(words), dim=-1)
    (plain_sigmoid(image, text, alone.scale, alone.bias) + plain_softmax(image, text, alone.scale, alone.bias)).backward()
    assert_close([p.grad for p in towers.parameters()], [p.grad for p in alone.parameters()])


def test_memory_of_a_large_batch(tmp_path):
    """At batch 8,192 and width 256, forward and backward need at most 1/8 of the memory of all pairs at once."""
    for side in range(2):
        launch(measure_large, tmp_path / str(side), side)
    chunked, plain = (float((tmp_path / str(side)).read_text()) for side in range(2))
    print(f"extra peak of forward and backward: {chunked:.0f} MiB, all pairs at once {plain:.0f} MiB")
    assert chunked < plain / 8


def test_memory_does_not_grow_with_the_world(tmp_path):
    """A rank that is not alone needs four travelling pieces more, however many ranks there are and however large its batch is."""
    for world in (1, 2, 4):
        in_world(measure_in_world, world, tmp_path / f"meeting_{world}", tmp_path)
    alone, two, four = (max(float(path.read_text()) for path in tmp_path.glob(f"peak_{world}_*")) for world in (1, 2, 4))
    print(f"extra peak of forward and backward: {alone:.2f} MiB alone, {two:.2f} in a world of 2, {four:.2f} in a world of 4")
    travelling = 4 * 512 * 256 * 4 / MIB
    assert four < 1.5 * two  # gloo keeps a little for every neighbour; a matrix of all pairs would be 256 MiB instead of 64
    assert four < alone + 2 * travelling


def measure_large(_: int, result: Path, side: int) -> None:
    torch.set_num_threads(1)
    result.write_text(str(extra_peak(OBJECTIVES["sigmoid"][side], 8192)))


def measure_in_world(rank: int, world: int, folder: Path) -> None:
    (folder / f"peak_{world}_{rank}").write_text(str(extra_peak(sigmoid_loss, 4096, chunk=512)))


def extra_peak(objective, batch: int, **options) -> float:
    """MiB by which forward and backward raise this process's resident memory above what it had before."""
    ctypes.CDLL(None).mallopt(-3, 2**16)  # M_MMAP_THRESHOLD: glibc returns what is freed, so that resident is what is in use
    value_and_gradients(objective, leaves(batch // 4, width=256, dtype=torch.float32), **options)
    tensors = leaves(batch, width=256, dtype=torch.float32)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = peak_memory()
    value_and_gradients(objective, tensors, **options)
    return (peak_memory() - before) / MIB


def peak_memory() -> int:
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
