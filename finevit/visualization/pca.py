"""Features as colours: the three directions in which they vary most become red, green and blue (as the DINO papers show them)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class ColourBasis(NamedTuple):
    """A projection of features to colours: ``mean [features]``, ``directions [features, 3]``, ``low`` and ``high`` ``[3]``."""

    mean: Tensor
    directions: Tensor
    low: Tensor
    high: Tensor

    def colours(self, features: Float[Tensor, "patches features"]) -> Float[Tensor, "patches 3"]:
        """RGB in [0, 1]; what lies outside the range the basis was fitted on is clamped."""
        shares = ((features.double() - self.mean) @ self.directions - self.low) / (self.high - self.low)
        return shares.clamp(0, 1).float()


def colour_basis(features: Float[Tensor, "patches features"], *, tail: float = 0.01) -> ColourBasis:
    """Fits the basis on the patches of all images together, so that one colour means one thing on a whole page.

    ``tail`` is the share of patches at either end of each direction that is clamped. Fewer than three directions of variation leave
    the remaining colours at medium grey. A direction's sign is fixed by its largest entry, so equal features get equal colours.
    """
    values = features.double()
    mean = values.mean(0)
    rank = min(3, *values.shape)
    directions = torch.linalg.svd(values - mean, full_matrices=False).Vh[:rank].T
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    directions = torch.nn.functional.pad(directions * largest.sign(), (0, 3 - rank))
    projected = (values - mean) @ directions
    low, high = projected.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=0)
    flat = high - low < 1e-6 * (high - low).max().clamp(min=1e-12)
    return ColourBasis(mean, directions, torch.where(flat, low - 1, low), torch.where(flat, high + 1, high))


def colour_maps(
    features: Sequence[Float[Tensor, "patches features"]],
    shapes: Sequence[tuple[int, int]],
    basis: ColourBasis | None = None,
) -> list[Float[Tensor, "rows cols 3"]]:
    """One RGB map an image; without a basis, the images' own joint one."""
    basis = basis or colour_basis(torch.cat(list(features)))
    return [basis.colours(feature).unflatten(0, shape) for feature, shape in zip(features, shapes, strict=True)]
