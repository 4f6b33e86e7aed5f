"""Random masks over a pack (paper, Stage I: 75 % of patches)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor


def random_mask(seqlens: Sequence[int], ratio: float, generator: torch.Generator | None = None) -> Bool[Tensor, " patches"]:
    """Masks ``round(ratio * length)`` patches of every image, uniformly at random; computed on the CPU, True where masked."""
    parts = []
    for length in seqlens:
        mask = torch.zeros(length, dtype=torch.bool)
        mask[torch.randperm(length, generator=generator)[: round(ratio * length)]] = True
        parts.append(mask)
    return torch.cat(parts)
