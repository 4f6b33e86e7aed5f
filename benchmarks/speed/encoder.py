"""Encoders of one size on the same images: FineViT beside its peers, and beside what products of matrices reach."""

import argparse
import warnings
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.speed.benchmark import SPEED_BENCHMARKS, SpeedBenchmark
from benchmarks.speed.encoders import ENCODERS, OURS, Encoder, Unavailable
from benchmarks.speed.measure import Step, best_product, in_turn, peak_memory, ratio
from benchmarks.speed.output import Column, Panel, Result, device_name
from benchmarks.speed.work import SIZES, WORKLOADS, Grid, Size, forward_flops, patches, training_flops
from finevit.planning.flops import traced_flops

MODES = {"forward": forward_flops, "training": training_flops}
"""FLOPs of a step; ``training`` is forward and backward."""
LIMIT = "product of matrices"
CPU = torch.device("cpu")
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 FLOPs a second by the makers' data sheets: what a GPU's fraction is one of."""


@SPEED_BENCHMARKS.register_module(name="encoder")
class EncoderSpeed(SpeedBenchmark):
    """Useful patches a second, and peak memory, of each encoder, workload and mode."""

    compares = "encoders of one size on the same images: ours and those of other libraries"
    unit = "useful patches/s"
    columns = (
        Column("workload", "images"),
        Column("mode", "mode"),
        Column("encoder", "encoder"),
        Column("rate", "patches/s", ",.0f"),
        Column("ours", "ours is", ".2f"),
        Column("fraction", "of the limit", ".2f"),
        Column("computed", "computed", ".2f"),
        Column("memory", "peak MiB", ",.0f"),
    )
    quick = {"size": "quick", "workloads": ["quick"], "rounds": 1, "sides": [64], "memory": False}

    @staticmethod
    def add_options(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS), metavar="NAME", help=", ".join(ENCODERS)
        )
        command.add_argument("--size", choices=SIZES, default="peers", help="of all encoders (default: peers, 384 wide, 6 deep)")
        command.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=["native", "448", "1008"], help="which images")
        command.add_argument("--repeat", type=int, default=1, help="so many times the images, to fill a GPU (default: 1)")
        command.add_argument("--modes", nargs="+", choices=("forward", "training"), default=["forward", "training"])
        command.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the products, by autocast")
        command.add_argument("--compile", action="store_true", help="compile every block of every encoder, before the rounds")
        command.add_argument(
            "--sides", nargs="+", type=int, default=[1024, 2048], help="of the square matrices that tell the limit"
        )
        command.add_argument(
            "--no-memory", dest="memory", action="store_false", help="do not measure memory, which starts processes"
        )

    @staticmethod
    def run(arguments: argparse.Namespace) -> Result:
        """Measures every encoder on every workload in every mode."""
        device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
        rows = [row for workload in arguments.workloads for row in _workload(workload, arguments, device, dtype)]
        settings = {
            "size": SIZES[arguments.size]._asdict(),
            "dtype": arguments.dtype,
            "compile": arguments.compile,
            "rounds": arguments.rounds,
        }
        return Result(settings, rows, list(_panels(rows)), list(_notes(rows, device)))


def make_step(
    name: str, size: Size, grids: Sequence[Grid], compiled: bool, mode: str, device: torch.device, dtype: torch.dtype
) -> Step:
    """One step of an encoder: forward in evaluation mode, or forward and backward to the gradients of all weights."""
    return step_of(build(name, size, grids, compiled, device), mode, device, dtype)


def build(name: str, size: Size, grids: Sequence[Grid], compiled: bool = False, device: torch.device = CPU) -> Encoder:
    """An encoder by name, with weights and images that are always the same; ``compiled`` block by block."""
    torch.manual_seed(0)
    with warnings.catch_warnings(), device:  # weights are drawn where they stay, which for L on a host takes half a minute
        warnings.simplefilter("ignore")  # what libraries of others say when they are imported
        encoder = ENCODERS[name](size, grids).to(device)
    for block in _blocks(encoder.model, size.depth) if compiled else ():
        block.compile(dynamic=True)
    return encoder


def _blocks(model: nn.Module, depth: int) -> Iterator[nn.Module]:
    """The blocks of an encoder: whatever its library calls them, a list of so many."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) == depth:
            yield from module


def step_of(encoder: Encoder, mode: str, device: torch.device, dtype: torch.dtype) -> Step:
    """See :func:`make_step`."""
    model, inputs = encoder.model, encoder.inputs

    def tokens() -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return model(*inputs)

    @torch.no_grad()
    def forward() -> None:
        model.eval()
        tokens()

    def training() -> None:
        model.train()
        tokens().float().square().mean().backward()
        model.zero_grad(set_to_none=True)

    return {"forward": forward, "training": training}[mode]


class _Measured(NamedTuple):
    """Of one encoder in one mode: useful patches a second and FLOPs a second, for each round."""

    rates: list[float]
    flops: list[float]


def _workload(workload: str, arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> Iterator[dict]:
    """The rows of one workload."""
    size, grids = SIZES[arguments.size], WORKLOADS[workload] * arguments.repeat
    built, missing = _build_all(arguments.encoders, size, grids, arguments.compile, device)
    computed = {name: _computed(size, encoder) for name, encoder in built.items() if device == CPU and not arguments.compile}
    limit = best_product(device, dtype, arguments.sides)
    for mode in arguments.modes:
        steps = {name: step_of(encoder, mode, device, dtype) for name, encoder in built.items()}
        seconds = in_turn({**steps, LIMIT: limit.step}, device=device, rounds=arguments.rounds)
        limits = [peak_flops(device) or limit.flops / taken for taken in seconds.pop(LIMIT)]
        found = {name: _measured(size, built[name].grids, mode, taken) for name, taken in seconds.items()}
        for name in arguments.encoders:
            row = {"workload": workload, "mode": mode, "encoder": name}
            if name in missing:
                yield {**row, "reason": missing[name]}
                continue
            yield {
                **row,
                "patches": patches(built[name].grids),
                "rate": median(found[name].rates),
                "ours": ratio(found[OURS].rates, found[name].rates) if OURS in found else None,
                "fraction": ratio(found[name].flops, limits),
                "computed": computed.get(name),
                "seconds": seconds[name],
                "memory": _memory(name, built[name], (name, size, grids, arguments.compile, mode, device, dtype))
                if arguments.memory
                else None,
                "limit": median(limits),
            }


def _build_all(
    names: Sequence[str], size: Size, grids: Sequence[Grid], compiled: bool, device: torch.device
) -> tuple[dict[str, Encoder], dict[str, str]]:
    """The encoders that can be had, and why the others cannot."""
    built, missing = {}, {}
    for name in names:
        try:
            built[name] = build(name, size, grids, compiled, device)
        except (Unavailable, ImportError) as error:
            missing[name] = str(error)
    return built, missing


def _computed(size: Size, encoder: Encoder) -> float:
    """FLOPs of a forward pass, as fvcore counts them, over those of the work in closed form. Kernels of GPUs are not traced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's tracer
        return sum(traced_flops(encoder.model, encoder.inputs).values()) / forward_flops(size, encoder.grids)


def _measured(size: Size, grids: Sequence[Grid], mode: str, seconds: Sequence[float]) -> _Measured:
    flops = MODES[mode](size, grids)
    return _Measured([patches(grids) / taken for taken in seconds], [flops / taken for taken in seconds])


def _memory(name: str, encoder: Encoder, arguments: tuple) -> float:
    """MiB at the peak of a step: weights, images, gradients, activations, and what the libraries need beside."""
    always = [*encoder.model.parameters(), *(value for value in encoder.inputs if isinstance(value, Tensor))]
    return (peak_memory(make_step, *arguments, device=arguments[-2]) + sum(each.nbytes for each in always)) / 2**20


def peak_flops(device: torch.device) -> float | None:
    """FLOPs a second of a GPU by its maker; None where it is not known, and for a CPU."""
    known = [flops for name, flops in PEAKS.items() if name in device_name(device)]
    return known[0] if known and device.type == "cuda" else None


def _panels(rows: Sequence[dict]) -> Iterator[Panel]:
    """One for each workload and mode."""
    for title in dict.fromkeys((row["workload"], row["mode"]) for row in rows):
        same = [row for row in rows if (row["workload"], row["mode"]) == title and "rate" in row]
        yield Panel(", ".join(title), {row["encoder"]: row["rate"] for row in same})


def _notes(rows: Sequence[dict], device: torch.device) -> Iterator[str]:
    """What the figures are, and which peers are missing."""
    where = "its maker's peak" if peak_flops(device) else "what a product of square matrices reached in the same rounds"
    limits = {f"{row['limit'] / 1e9:,.0f}" for row in rows if "limit" in row}
    yield f"of the limit: FLOPs of the work, without padding, over {where} ({' or '.join(sorted(limits))} GFLOP/s)"
    missing = {row["encoder"]: row["reason"] for row in rows if "reason" in row}
    yield from (f"{name} was not measured: {reason}" for name, reason in missing.items())
