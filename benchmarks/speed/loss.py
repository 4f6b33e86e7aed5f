"""Contrastive losses, forward and backward: ours in blocks beside open_clip's matrix of all pairs."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.speed.benchmark import SPEED_BENCHMARKS, SpeedBenchmark
from benchmarks.speed.measure import Step, in_turn, peak_memory, ratio
from benchmarks.speed.output import Column, Panel, Result

LOSSES = ("sigmoid", "softmax")
OURS, PEER = "finevit", "open_clip"
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""``(image [images, embed], text [images, embed], scale, bias)`` -> the mean over images."""


@SPEED_BENCHMARKS.register_module(name="loss")
class LossSpeed(SpeedBenchmark):
    """Time and peak memory of one forward and backward."""

    compares = "contrastive losses, forward and backward: ours and those of open_clip"
    unit = "milliseconds"
    columns = (
        Column("loss", "loss"),
        Column("batch", "pairs", ",d"),
        Column("side", "of"),
        Column("milliseconds", "ms", ",.1f"),
        Column("faster", "ours is", ".2f"),
        Column("memory", "peak MiB", ",.1f"),
        Column("share", "ours takes", ".2f"),
    )
    quick = {"batches": [64], "dim": 16, "chunk": 32, "rounds": 1, "memory": False}

    @staticmethod
    def add_options(command: argparse.ArgumentParser) -> None:
        command.add_argument("--batches", nargs="+", type=int, default=[1024, 4096, 8192], help="how many images with their texts")
        command.add_argument("--dim", type=int, default=256, help="width of the embeddings (default: 256)")
        command.add_argument("--chunk", type=int, default=1024, help="side of our blocks (default: 1024, that of the configs)")
        command.add_argument(
            "--no-memory", dest="memory", action="store_false", help="do not measure memory, which starts processes"
        )

    @staticmethod
    def run(arguments: argparse.Namespace) -> Result:
        """Measures both losses of both sides for each batch."""
        device = torch.device(arguments.device)
        cases = [(loss, batch) for loss in LOSSES for batch in arguments.batches]
        rows = [row for loss, batch in cases for row in _case(loss, batch, arguments, device)]
        panels = [Panel(f"{loss}, {batch:,} pairs", _bars(rows, loss, batch)) for loss, batch in cases]
        notes = ["peak MiB: beyond the embeddings, with their gradients", "ours takes: its share of open_clip's memory"]
        return Result({"dim": arguments.dim, "chunk": arguments.chunk}, rows, panels, notes)


def losses(loss: str, chunk: int) -> dict[str, Loss]:
    """One loss of both sides."""
    from open_clip.loss import ClipLoss, SigLipLoss

    from finevit.ops.contrastive import sigmoid_loss, softmax_loss

    clip, siglip = ClipLoss(), SigLipLoss()
    if loss == "sigmoid":
        return {OURS: lambda i, t, s, b: sigmoid_loss(i, t, s, b, chunk=chunk), PEER: lambda i, t, s, b: siglip(i, t, s, b)}
    return {OURS: lambda i, t, s, b: softmax_loss(i, t, s, chunk=chunk), PEER: lambda i, t, s, b: clip(i, t, s)}


def make_step(side: str, loss: str, batch: int, dim: int, chunk: int, device: torch.device) -> Step:
    """Forward and backward to the gradients of both embeddings, the scale and the bias."""
    compute = losses(loss, chunk)[side]
    generator = torch.Generator().manual_seed(0)
    vectors = [normalize(torch.randn(batch, dim, generator=generator), dim=1) for _ in range(2)]
    leaves = [value.to(device).requires_grad_() for value in (*vectors, torch.tensor(10.0), torch.tensor(-10.0))]

    def step() -> None:
        for leaf in leaves:
            leaf.grad = None
        compute(*leaves).backward()

    return step


def _case(loss: str, batch: int, arguments: argparse.Namespace, device: torch.device) -> Iterator[dict]:
    """The rows of one loss and one batch."""
    settings = {side: (side, loss, batch, arguments.dim, arguments.chunk, device) for side in (OURS, PEER)}
    seconds = in_turn({side: make_step(*each) for side, each in settings.items()}, device=device, rounds=arguments.rounds)
    memory = {side: peak_memory(make_step, *each, device=device) for side, each in settings.items()} if arguments.memory else {}
    for side in settings:
        yield {
            "loss": loss,
            "batch": batch,
            "side": side,
            "milliseconds": 1000 * median(seconds[side]),
            "faster": ratio(seconds[side], seconds[OURS]),
            "memory": memory[side] / 2**20 if memory else None,
            "share": memory[OURS] / memory[side] if memory else None,
        }


def _bars(rows: Sequence[dict], loss: str, batch: int) -> dict[str, float]:
    return {row["side"]: row["milliseconds"] for row in rows if (row["loss"], row["batch"]) == (loss, batch)}
