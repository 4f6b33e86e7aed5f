"""Random masks over a pack (paper, Stage I: 75 % of patches)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from finevit.contracts import PackedImages


def random_mask(lengths: Sequence[int], ratio: float, generator: torch.Generator | None = None) -> Bool[Tensor, " patches"]:
    """Masks ``round(ratio * length)`` patches of every image, uniformly at random; computed on the CPU, True where masked."""
    parts = []
    for length in lengths:
        mask = torch.zeros(length, dtype=torch.bool)
        mask[torch.randperm(length, generator=generator)[: round(ratio * length)]] = True
        parts.append(mask)
    return torch.cat(parts)


def repeat_pack(images: PackedImages, times: int) -> PackedImages:
    """The same images ``times`` times, one copy of the whole pack after the other."""
    if times == 1:
        return images
    starts = torch.arange(times, dtype=images.offsets.dtype, device=images.offsets.device) * sum(images.lengths)
    ends = (images.offsets[1:] + starts[:, None]).flatten()
    return PackedImages(
        pixels=images.pixels.repeat(times, 1),
        positions=images.positions.repeat(times, 1),
        offsets=torch.cat((images.offsets[:1], ends)),
        shapes=images.shapes * times,
        lengths=images.lengths * times,
    )
