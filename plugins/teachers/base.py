"""What all vision-transformer teachers share: frozen weights, own statistics, choice of layers (paper, Stage I)."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import MinLen
from torch import Tensor

from finevit.contracts import Teacher
from finevit.precision import bfloat16_helps

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Combine = Literal["mean", "concat"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Layers = Annotated[Sequence[int], MinLen(1), "one or more block numbers, such as [-1]"]


class ViTTeacher(Teacher):
    """A frozen ViT whose patch tokens of one or several blocks are the features.

    Subclasses implement ``blocks`` and call ``_finish`` at the end of their constructor.
    """

    def __init__(self, *, layers: Layers, combine: Combine, norm: bool, dtype: Dtype) -> None:
        super().__init__()
        if dtype == "auto":
            dtype = "bfloat16" if bfloat16_helps() else "float32"
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
