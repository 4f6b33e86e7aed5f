"""What all probes share: a part of the training set on which settings are chosen, and how answers are counted.

The test set has no part in a choice: what chooses never gets to see it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

HELD_OUT = 0.1
"""Share of the training images on which settings are chosen; the probe with the chosen setting then learns from all of them."""
BEYOND = 4
"""At most so many learning rates are tried beyond an end of the grid."""
Setting = TypeVar("Setting")


class Outcome(NamedTuple):
    """``metrics`` on the test set, the ``chosen`` setting, and ``tried``: what every setting reached on the held-out images."""

    metrics: dict[str, float]
    chosen: dict[str, object]
    tried: dict[str, float]


def hold_out(images: int, *, seed: int, share: float = HELD_OUT) -> tuple[Int[Tensor, " fit"], Int[Tensor, " held"]]:
    """Which of the training images learn while settings are chosen, and which judge; sorted, at least one of each."""
    if images < 2:
        raise ValueError(f"{images} training images: a probe needs at least 2, of which one chooses its settings; give more")
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    held = min(images - 1, max(1, round(share * images)))
    return order[held:].sort().values, order[:held].sort().values


def counted(answers: Int[Tensor, " n"], labels: Int[Tensor, " n"]) -> dict[str, float]:
    """``top1``, and ``balanced``: its mean over the classes that occur."""
    right = (answers == labels).double()
    per_class = [right[labels == label].mean() for label in labels.unique()]
    return {"top1": float(right.mean()), "balanced": float(torch.stack(per_class).mean())}


def best(tried: dict[Setting, float]) -> Setting:
    """The setting that reached most; of equal ones the first, and never one that is not a number."""
    return max(tried, key=lambda name: tried[name] if tried[name] == tried[name] else -1.0)


def search(rates: Sequence[float], judge: Callable[[Sequence[float]], Sequence[float]]) -> dict[float, float]:
    """What ``judge`` says of every rate, and of rates beyond an end of the grid, a step of it apart, while the best lies there.

    Returned in the order of the rates.
    """
    tried = dict(zip(rates, judge(rates), strict=True))
    for _ in range(BEYOND):
        grid = sorted(tried)
        match edge([tried[rate] for rate in grid]):
            case "largest":
                following = grid[-1] * (grid[-1] / grid[-2])
            case "smallest":
                following = grid[0] * (grid[0] / grid[1])
            case _:
                break
        (tried[following],) = judge([following])
    return {rate: tried[rate] for rate in sorted(tried)}


def edge(scores: Sequence[float]) -> str:
    """``largest`` or ``smallest`` where the best of an ascending grid lies there and its neighbour reached less, else empty."""
    chosen = best(dict(enumerate(scores)))
    if len(scores) < 2 or not (chosen == 0 or chosen == len(scores) - 1):
        return ""
    neighbour = scores[1] if chosen == 0 else scores[-2]
    return "" if neighbour == scores[chosen] else "smallest" if chosen == 0 else "largest"


def told(setting: str, value: float, scores: Sequence[float]) -> dict[str, object]:
    """The chosen value of a setting, and ``grid_edge``: at which end of the ``scores`` of all values it still lies, if it does."""
    end = edge(scores)
    return {setting: value, **({"grid_edge": f"{value:g} is the {end} tried"} if end else {})}


def batches(number: int, *, size: int, steps: int, seed: int) -> list[Int[Tensor, " size"]]:
    """Indices of ``steps`` batches: epoch after epoch, each in an order of its own; the last of an epoch may be smaller."""
    generator, found = torch.Generator().manual_seed(seed), list[Tensor]()
    while len(found) < steps:
        found += torch.randperm(number, generator=generator).split(size)
    return found[:steps]


def cosine(step: int, steps: int) -> float:
    """Factor of the learning rate: from 1 towards 0."""
    return float(0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / steps))))


def at_most(features: Float[Tensor, "n features"]) -> int:
    """How many rows of scores against these exist at once: about 64 MB."""
    return max(1, (1 << 24) // max(1, len(features)))
