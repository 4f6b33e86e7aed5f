"""From the loader's batch to the model's arguments: device, float, normalised pixels."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from finevit.registry import MODELS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@MODELS.register_module()
class PackedPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device, normalises the patches of ``images``, drops what the loader reports to the hooks.

    These are ``skipped`` and ``counts``, and, in training, ``id``: predictions carry it, losses have no use for it.

    Args:
        mean: mean per channel, of values in [0, 1].
        std: standard deviation per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__(non_blocking=True)
        self.register_buffer("mean", torch.tensor(mean)[:, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None], persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """``images.pixels`` uint8 -> float, normalised; the other entries as they are."""
        reports = ("skipped", "counts", "id") if training else ("skipped", "counts")
        batch = self.cast_data({key: value for key, value in data.items() if key not in reports})
        images = batch["images"]
        pixels = images.pixels.unflatten(-1, (3, -1)).to(self.mean.dtype) / 255
        return {**batch, "images": images._replace(pixels=((pixels - self.mean) / self.std).flatten(-2))}

    def unnormalise(self, pixels: Tensor) -> Tensor:
        """``[patches, pixels]`` normalised -> RGB in [0, 1]."""
        return (pixels.unflatten(-1, (3, -1)) * self.std + self.mean).flatten(-2).clamp(0, 1)
