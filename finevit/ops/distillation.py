"""Masked feature distillation: which patches are masked, and the loss of features (paper, Stage I)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def random_mask(seqlens: Sequence[int], ratio: float, generator: torch.Generator | None = None) -> Bool[Tensor, " patches"]:
    """Masks ``round(ratio * length)`` patches of every image, uniformly at random; computed on the CPU, True where masked."""
    parts = []
    for length in seqlens:
        mask = torch.zeros(length, dtype=torch.bool)
        mask[torch.randperm(length, generator=generator)[: round(ratio * length)]] = True
        parts.append(mask)
    return torch.cat(parts)


def squared_distance(
    prediction: Float[Tensor, "patches dim"], target: Float[Tensor, "patches dim"], chosen: Bool[Tensor, " patches"]
) -> Float[Tensor, ""]:
    """Squared L2 distance summed over the chosen patches, divided by their number (0 where none is chosen).

    The paper's Stage I objective is the plain sum; the division only makes the learning rate independent of the batch.
    """
    exact = torch.promote_types(prediction.dtype, torch.float32)
    distance = (prediction.to(exact) - target.to(exact)).square().sum(-1)
    return (distance * chosen).sum() / chosen.sum().clamp(min=1)
