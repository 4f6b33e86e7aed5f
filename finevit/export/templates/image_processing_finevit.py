"""From images to what the FineViT encoder reads: ``AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import load_image
from transformers.processing_utils import ImagesKwargs

from .encoder_finevit import patchify
from .pixels_finevit import normalise, resize, snapped_size, to_pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = ({"height", "width"}, {"shortest_edge"}, {"longest_edge"}, {"shortest_edge", "longest_edge"}, {"max_height", "max_width"})
"""The keys that ``size`` can have."""
KEPT = {"auto_map", "image_processor_type", "processor_class", "feature_extractor_type"}
"""What Transformers itself keeps in ``preprocessor_config.json``."""


class FineViTImagesKwargs(ImagesKwargs, total=False):
    """What this image processor has of its own."""

    pixels: int | None
    snap: int | None
    patch_size: int | None


class FineViTImageProcessor(BaseImageProcessor):
    """RGB, resized to a budget of pixels with the aspect ratio kept, normalised.

    Args:
        image_mean: mean per channel, of values in [0, 1].
        image_std: standard deviation per channel.
        pixels: area to which larger images are reduced; smaller ones keep their size.
        snap: sides are multiples of so many pixels.
        patch_size: side of a patch in pixels.
        size: in place of ``pixels`` and ``snap``: ``{"height": 224, "width": 224}`` or 224, ``{"shortest_edge": 224}``,
            ``{"longest_edge": 448}``, both of these, or ``{"max_height": 448, "max_width": 448}``. Sides become the nearest
            multiples of the patch, unless ``crop_size`` follows.
        crop_size: the middle of the image that is taken then, such as ``{"height": 224, "width": 224}``, in multiples of the patch.
        do_resize: False takes images as they are; their sides must be multiples of the patch.
        do_rescale: False takes their values as they are; arrays may hold floats then.
        rescale_factor: by which values are multiplied.
        do_normalize: False leaves out mean and standard deviation.
        kwargs: what Transformers itself keeps in ``preprocessor_config.json``.
    """

    model_input_names = ["pixel_values", "grids"]
    valid_kwargs = FineViTImagesKwargs

    def __init__(
        self,
        *,
        image_mean: Sequence[float] = MEAN,
        image_std: Sequence[float] = STD,
        pixels: int = 448 * 448,
        snap: int = 28,
        patch_size: int = 14,
        size: Any = None,
        crop_size: Any = None,
        do_resize: bool = True,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 255,
        do_normalize: bool = True,
        **kwargs: Any,
    ) -> None:
        if unknown := sorted(set(kwargs) - KEPT):
            raise TypeError(f"FineViTImageProcessor has no setting {', '.join(unknown)}")
        super().__init__(**kwargs)
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.pixels, self.snap, self.patch_size = pixels, snap, patch_size
        self.size, self.crop_size = _sides(size), _sides(crop_size)
        self.do_resize, self.do_rescale, self.do_normalize = do_resize, do_rescale, do_normalize
        self.rescale_factor = rescale_factor

    def preprocess(
        self,
        images: Any,
        *,
        pixels: int | None = None,
        square: bool = False,
        packed: bool | None = None,
        size: Any = None,
        crop_size: Any = None,
        do_resize: bool | None = None,
        do_rescale: bool | None = None,
        rescale_factor: float | None = None,
        do_normalize: bool | None = None,
        image_mean: Sequence[float] | None = None,
        image_std: Sequence[float] | None = None,
        input_data_format: str | None = None,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """One image or a list: PIL images, paths or addresses, or uint8 arrays or tensors, alone or as a batch.

        Images that come out at one size become ``pixel_values [batch, 3, height, width]``. Others, or all with ``packed=True``,
        become patches ``pixel_values [patches, 3 * patch * patch]`` with their ``grids [images, 2]``; the model reads both.
        ``square`` gives all images one size. ``return_tensors`` is ``pt``, ``np``, or None for NumPy arrays: one batch of images
        that come out at one size, else a list.
        ``input_data_format`` says where arrays have their channels, ``channels_first`` or ``channels_last``. The other arguments
        take the place of the processor's own settings.
        """
        rescale = self.do_rescale if do_rescale is None else do_rescale
        factor = (self.rescale_factor if rescale_factor is None else rescale_factor) if rescale else 1.0
        normal = self.do_normalize if do_normalize is None else do_normalize
        mean, std = (self.image_mean if image_mean is None else image_mean), (self.image_std if image_std is None else image_std)
        mean, std = (mean, std) if normal else ((0.0,) * 3, (1.0,) * 3)
        place = None if input_data_format is None else str(getattr(input_data_format, "value", input_data_format))
        if place not in (None, "channels_first", "channels_last"):
            raise ValueError(f"input_data_format={place!r}: give channels_first or channels_last")
        ready = []
        for image in self._each(images):
            if rescale and "float" in str(getattr(image, "dtype", "")):
                raise ValueError(f"images of {image.dtype}: give uint8 of 0 to 255, or do_rescale=False where they are of 0 to 1")
            raw = to_pixels(image, place and place.removeprefix("channels_"), scaled=not rescale)
            fitted = self._fit(raw, pixels, square, _sides(size), _sides(crop_size), do_resize)
            ready.append(normalise(fitted, mean, std, factor))
        return self._together(ready, packed, return_tensors)

    def _each(self, images: Any) -> list[Any]:
        """The images one by one."""
        if isinstance(images, list | tuple):
            return [one for image in images for one in self._each(image)]
        if isinstance(images, str | Path):
            file = Path(images).expanduser()
            return [Image.open(file) if len(str(images)) < 4096 and file.is_file() else load_image(str(images))]
        return list(images) if getattr(images, "ndim", 3) == 4 else [images]

    def _fit(self, image: Tensor, pixels: int | None, square: bool, size: Any, crop: Any, do_resize: bool | None) -> Tensor:
        """The image at the size at which it enters the encoder."""
        height, width = image.shape[1:]
        own = pixels is None and not square  # those settings ask for a size of their own
        size, crop = size or (self.size if own else None), crop or (self.crop_size if own and size is None else None)
        if self.do_resize if do_resize is None else do_resize:
            if size is None:
                target = snapped_size(height, width, pixels=pixels or self.pixels, square=square, snap=self.snap)
            else:
                target = _target(height, width, size)
                target = target if crop else (self._snap(target[0]), self._snap(target[1]))
            image = resize(image, *target)
        image = image if crop is None else self._crop(image, crop)
        if image.shape[1] % self.patch_size or image.shape[2] % self.patch_size:
            raise ValueError(
                f"do_resize=False: an image has {height} x {width} pixels, whose sides must be multiples of the patch, "
                f"{self.patch_size}; resize it, or leave do_resize on"
            )
        return image

    def _snap(self, side: float) -> int:
        return max(1, round(side / self.patch_size)) * self.patch_size

    def _crop(self, image: Tensor, crop: Mapping[str, int]) -> Tensor:
        height, width = (self._snap(side) for side in _target(image.shape[1], image.shape[2], crop))
        top, left = ((side - wanted) // 2 for side, wanted in zip(image.shape[1:], (height, width), strict=True))
        if top < 0 or left < 0:
            raise ValueError(f"crop_size={dict(crop)}: an image has {image.shape[1]} x {image.shape[2]} pixels; give a larger size")
        return image[:, top : top + height, left : left + width]

    def _together(self, ready: list[Tensor], packed: bool | None, kind: str | None) -> BatchFeature:
        """One batch of all images."""
        if not ready:
            raise ValueError("images: an empty list; give at least one image")
        sizes = sorted({(image.shape[1], image.shape[2]) for image in ready})
        kind = None if kind is None else str(getattr(kind, "value", kind))
        if kind not in (None, "pt", "np"):
            raise ValueError(f"return_tensors={kind!r}: give 'pt', 'np' or None")
        if packed or (packed is None and len(sizes) > 1 and kind):
            patches = torch.cat([patchify(image[None], self.patch_size)[0] for image in ready])
            grids = torch.tensor([[side // self.patch_size for side in image.shape[1:]] for image in ready])
            return BatchFeature({"pixel_values": patches, "grids": grids} | ({} if kind == "pt" else _numpy(patches, grids)))
        if kind is None and len(sizes) > 1:
            return BatchFeature({"pixel_values": [image.numpy() for image in ready]})
        if len(sizes) > 1:
            raise ValueError(f"packed=False: images come out at sizes {sizes}; give square=True, or leave packed out")
        batch = torch.stack(ready)
        return BatchFeature({"pixel_values": batch if kind == "pt" else batch.numpy()})


def _numpy(patches: Tensor, grids: Tensor) -> dict[str, Any]:
    return {"pixel_values": patches.numpy(), "grids": grids.numpy()}


def _sides(size: Any) -> dict[str, int] | None:
    """What people give for a size, as a dict."""
    if size is None:
        return None
    if isinstance(size, int):
        return {"height": size, "width": size}
    if isinstance(size, list | tuple):
        return {"height": int(size[0]), "width": int(size[-1])}
    given = {key: int(value) for key, value in dict(size).items() if value is not None}
    if set(given) not in SIZES or min(given.values()) < 1:
        raise ValueError(f"size={given}: give one of {', '.join(' and '.join(sorted(keys)) for keys in SIZES)}, in pixels")
    return given


def _target(height: int, width: int, size: Mapping[str, int]) -> tuple[int, int]:
    """The height and width that ``size`` asks for."""
    if "height" in size:
        return size["height"], size["width"]
    if "max_height" in size:
        scale = min(size["max_height"] / height, size["max_width"] / width)
    else:
        scale = size["shortest_edge"] / min(height, width) if "shortest_edge" in size else float("inf")
        scale = min(scale, size["longest_edge"] / max(height, width)) if "longest_edge" in size else scale
    return max(1, round(height * scale)), max(1, round(width * scale))
