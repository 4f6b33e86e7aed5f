"""What all vision-transformer teachers share: frozen weights, own statistics, choice of layers (paper, Stage I)."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from finevit.contracts import Teacher
from finevit.precision import bfloat16_helps

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class ViTTeacher(Teacher):
    """A frozen ViT whose patch tokens of one or several blocks are the features.

    Subclasses implement ``blocks`` and call ``_finish`` at the end of their constructor.
    """

    def __init__(self, *, layers: Sequence[int], combine: str, norm: bool, dtype: str) -> None:
        super().__init__()
        if combine not in ("mean", "concat"):
            raise ValueError(f"combine={combine!r}: give 'mean' or 'concat'")
        if dtype == "auto":
            dtype = "bfloat16" if bfloat16_helps() else "float32"
        if dtype not in DTYPES:
            raise ValueError(f"dtype={dtype!r}: give one of auto, {', '.join(DTYPES)}")
        if isinstance(layers, int | str) or not all(isinstance(layer, int) for layer in layers):
            raise ValueError(f"layers={layers!r}: give a list of block numbers, for example [-1]")
        if not layers:
            raise ValueError("layers=(): give at least one layer, for example (-1,)")
        self.requested, self.combine, self.norm = tuple(layers), combine, norm
        self.dtype_name, self.dtype = dtype, DTYPES[dtype]

    @abstractmethod
    def blocks(self, pixels: Tensor) -> list[Tensor]:
        """Normalised ``[n, 3, height, width]`` -> patch tokens ``[n, patches, dim]`` of each of ``self.layers``."""

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """``images [n, 3, rows * patch, cols * patch]``, RGB in [0, 1] -> ``[n, rows * cols, dim]``, raster order.

        In float32 whatever the arithmetic. Raises ``ValueError`` where the sides are not multiples of ``patch``.
        """
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ValueError(f"images of {height} x {width} pixels do not divide into patches of {self.patch}")
        with torch.autocast(images.device.type, enabled=False):
            layers = self.blocks(((images.float() - self.mean) / self.std).to(self.dtype))
        patches = (height // self.patch) * (width // self.patch)
        if (tokens := layers[0].shape[1]) != patches:
            raise ValueError(f"{self.describe()}: {tokens} patch tokens came for a grid of {patches} patches")
        layers = [layer.float() for layer in layers]
        return torch.cat(layers, dim=-1) if self.combine == "concat" else torch.stack(layers).mean(0)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: a teacher is never trained."""
        return super().train(False)

    def describe_layers(self) -> str:
        """The layers for people, counted from 0."""
        kind = "" if len(self.layers) == 1 else f" ({self.combine})"
        return f"layer{'s' * (len(self.layers) > 1)} {', '.join(map(str, self.layers))}{kind}, {self.dtype_name}"

    def _choose(self, depth: int) -> None:
        """Resolve the requested layers against a model of ``depth`` blocks."""
        for layer in self.requested:
            if not -depth <= layer < depth:
                raise ValueError(f"layers={self.requested}: there is no layer {layer} in a teacher of {depth} layers")
        self.layers = tuple(layer % depth for layer in self.requested)

    def _finish(self, *, width: int, mean: Sequence[float], std: Sequence[float]) -> None:
        """Freeze the weights in their dtype, and take over the model's width and its mean and deviation (of [0, 1])."""
        self.dim = width * (len(self.layers) if self.combine == "concat" else 1)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.vit.requires_grad_(False).to(self.dtype)
        self.eval()

    vit: Any
    mean: Tensor
    std: Tensor
    layers: tuple[int, ...]
