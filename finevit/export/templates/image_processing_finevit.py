"""From images to what the FineViT encoder reads: ``AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)``."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from .encoder_finevit import patchify
from .pixels_finevit import normalise, resize, snapped_size, to_pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FineViTImageProcessor(BaseImageProcessor):
    """RGB, resized to a budget of pixels with the aspect ratio kept, normalised.

    Args:
        image_mean: mean per channel, of values in [0, 1].
        image_std: standard deviation per channel.
        pixels: area to which larger images are reduced; smaller ones keep their size.
        snap: sides are multiples of so many pixels.
        patch_size: side of a patch in pixels.
        kwargs: what Transformers itself keeps in ``preprocessor_config.json``.
    """

    model_input_names = ["pixel_values", "grids"]

    def __init__(
        self,
        *,
        image_mean: Sequence[float] = MEAN,
        image_std: Sequence[float] = STD,
        pixels: int = 448 * 448,
        snap: int = 28,
        patch_size: int = 14,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.pixels, self.snap, self.patch_size = pixels, snap, patch_size

    def preprocess(
        self,
        images: Any,
        *,
        pixels: int | None = None,
        square: bool = False,
        packed: bool | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """One image or a list: PIL images, or uint8 arrays or tensors.

        Images that come out at one size become ``pixel_values [batch, 3, height, width]``. Others, or all with ``packed=True``,
        become patches ``pixel_values [patches, 3 * patch * patch]`` with their ``grids [images, 2]``; the model reads both.
        ``square`` gives all images one size.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors={return_tensors!r}: FineViT's image processor makes PyTorch tensors; give 'pt'")
        many = list(images) if isinstance(images, list | tuple) else [images]
        ready = [self._prepare(to_pixels(image), pixels or self.pixels, square) for image in many]
        same = len({image.shape for image in ready}) == 1
        if packed is None:
            packed = not same
        if packed:
            patches = torch.cat([patchify(image[None], self.patch_size)[0] for image in ready])
            grids = [[side // self.patch_size for side in image.shape[1:]] for image in ready]
            return BatchFeature({"pixel_values": patches, "grids": torch.tensor(grids)})
        if not same:
            sizes = sorted({(image.shape[1], image.shape[2]) for image in ready})
            raise ValueError(f"packed=False: images come out at sizes {sizes}; give square=True, or leave packed out")
        return BatchFeature({"pixel_values": torch.stack(ready)})

    def _prepare(self, image: torch.Tensor, pixels: int, square: bool) -> torch.Tensor:
        height, width = snapped_size(image.shape[1], image.shape[2], pixels=pixels, square=square, snap=self.snap)
        return normalise(resize(image, height, width), self.image_mean, self.image_std)
