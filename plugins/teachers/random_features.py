"""A teacher of fixed random features: no weights to fetch, the same on every machine. For tests and examples."""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le, MultipleOf
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional as F

from finevit.contracts import Teacher


class RandomFeatureTeacher(Teacher):
    """``tanh`` of a random projection of each patch and its eight neighbours, seen at two cells per patch side.

    Coarse and overlapping, so that a masked patch can partly be told from its neighbours. ``patch`` must be even.
    """

    def __init__(
        self,
        *,
        dim: PositiveInt = 64,
        patch: Annotated[int, Ge(2), MultipleOf(2)] = 14,
        seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0,
    ) -> None:
        super().__init__()
        self.dim, self.patch, self.seed = dim, patch, seed
        normal = np.random.RandomState(seed).standard_normal((dim, 3, 6, 6))
        self.register_buffer("weight", torch.from_numpy(normal / 108**0.5).float(), persistent=False)

    weight: Tensor

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """``images [n, 3, rows * patch, cols * patch]``, RGB in [0, 1] -> ``[n, rows * cols, dim]``, raster order."""
        cells = F.avg_pool2d(images.float() * 4 - 2, self.patch // 2)
        return F.conv2d(cells, self.weight, stride=2, padding=2).tanh().flatten(2).transpose(1, 2)

    def describe(self) -> str:
        """One line for people: which model, from where, which layers."""
        return f"{self.dim} fixed random features of seed {self.seed}, for tests"
