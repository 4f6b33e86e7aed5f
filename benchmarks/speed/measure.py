"""Time and memory of candidates: in turn in one process, and alone in a process of its own."""

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import torch

from finevit.planning.memory import held, peak, reset_peak

ROUNDS = 5
Step = Callable[[], object]


def in_turn(steps: Mapping[str, Step], *, device: torch.device, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of each step, once a round, after a round that does not count.

    One after the other in each round: what disturbs the machine for a while disturbs all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            taken = timed(step, device)
            seconds[name] += [taken] if number else []
    return seconds


def timed(step: Step, device: torch.device) -> float:
    """Seconds of one call, until the device is done with it."""
    _wait(device)
    begin = time.perf_counter()
    step()
    _wait(device)
    return time.perf_counter() - begin


def ratio(rates: Sequence[float], others: Sequence[float]) -> float:
    """How many times as fast as others: the median over rounds, each compared with itself."""
    return median(rate / other for rate, other in zip(rates, others, strict=True))


class Product(NamedTuple):
    """A product of square matrices of so many rows, and its FLOPs."""

    side: int
    step: Step
    flops: int


def best_product(device: torch.device, dtype: torch.dtype, sides: Sequence[int]) -> Product:
    """Of several the one with the most FLOPs a second: the machine's limit for what consists of products."""
    tried = [_product(side, device, dtype) for side in sides]
    return max(tried, key=lambda each: each.flops / min(timed(each.step, device) for _ in range(3)))


def _product(side: int, device: torch.device, dtype: torch.dtype) -> Product:
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return Product(side, lambda: left @ right, 2 * side**3)


def peak_memory(make: Callable[..., Step], *arguments: Any, device: torch.device) -> int:
    """Bytes at the peak of the step ``make(*arguments)``, beyond what was held before it, in a process of its own.

    ``make`` and its arguments travel to the process. Libraries that it imports, and what it builds, are held before.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(sender, torch.get_num_threads(), device, make, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError("the process that was to measure memory ended early") from None
    finally:
        process.join()


def _report_peak(sender: Any, threads: int, device: torch.device, make: Callable[..., Step], arguments: tuple) -> None:
    torch.set_num_threads(threads)
    step = make(*arguments)
    before = held(device)
    reset_peak(device)
    step()
    sender.send(peak(device) - before)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
