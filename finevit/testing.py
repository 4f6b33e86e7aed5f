"""For tests of this project and of plugins: packs, deterministic weights, and checks of the contracts."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from finevit.contracts import PATCH, ImageBudget, PackedImages, PackedTexts, ResolutionSchedule, Teacher
from finevit.datasets.packing import pack


def random_pack(grids: Sequence[tuple[int, int]], *, patch: int = PATCH, seed: int = 0) -> PackedImages:
    """A pack of random images with the given grids; ``pixels`` are float64 in [-0.5, 0.5]."""
    rng = np.random.default_rng(seed)
    images = pack([rng.integers(0, 256, (r * c, 3 * patch * patch), dtype=np.uint8) for r, c in grids], grids)
    return images._replace(pixels=images.pixels.double() / 255 - 0.5)


@torch.no_grad()
def fill(module: nn.Module, *, seed: int = 1, scale: float = 0.3) -> None:
    """Gives every parameter random values, large enough that each part of the computation shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.copy_(noise * (scale if parameter.ndim > 1 else 1.0))


def check_teacher(teacher: Teacher) -> None:
    """Asserts the contract of :class:`~finevit.contracts.Teacher` on a grid of 2 x 3 patches."""
    images = torch.rand(2, 3, 2 * teacher.patch, 3 * teacher.patch, generator=torch.Generator().manual_seed(0))
    features = teacher.features(images)
    assert features.shape == (2, 6, teacher.dim), f"features: {tuple(features.shape)}, expected (2, 6, {teacher.dim})"
    assert not features.requires_grad, "features need no gradient"
    assert torch.isfinite(features).all(), "features are finite"
    assert torch.allclose(features[1], teacher.features(images[1:])[0], atol=1e-4), "images of a batch do not see each other"
    assert teacher.describe(), "describe() says what the teacher is"


def check_resolution_schedule(schedule: ResolutionSchedule, *, steps: int = 100) -> None:
    """Asserts the contract of :class:`~finevit.contracts.ResolutionSchedule`: a pure function of the step."""
    budgets = [schedule(step) for step in range(steps)]
    assert all(isinstance(budget, ImageBudget) and budget.pixels > 0 for budget in budgets), "every step has an ImageBudget"
    assert budgets == [schedule(step) for step in range(steps)], "the same step always gives the same budget"


def random_texts(lengths: Sequence[int], *, limit: int, vocab: int = 1000, seed: int = 0) -> PackedTexts:
    """A pack of random token ids below ``vocab`` with the given lengths."""
    tokens = torch.randint(vocab, (sum(lengths),), generator=torch.Generator().manual_seed(seed))
    return PackedTexts(tokens, torch.tensor(np.cumsum((0, *lengths)), dtype=torch.int32), tuple(lengths), limit)
