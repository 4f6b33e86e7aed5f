"""How images enter the FineViT encoder: size, resampling and normalisation as in training, on torch alone."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

CHANNELS = (1, 3, 4)
"""Grey, RGB, and RGB with the opacity."""


def snapped_size(height: int, width: int, *, pixels: int, square: bool = False, snap: int = 28) -> tuple[int, int]:
    """The ``(height, width)`` to which an image is resized: multiples of ``snap``, area at most about ``pixels``.

    The aspect ratio is kept as well as that allows (unless ``square``), and a small image is not enlarged.
    """
    if square:
        height = width = math.isqrt(pixels)
    scale = min(1.0, math.sqrt(pixels / (height * width)))
    rows, cols = (max(1, round(side * scale / snap)) for side in (height, width))
    while rows * cols * snap * snap > pixels and max(rows, cols) > 1:
        smaller = [(r, c) for r, c in ((rows - 1, cols), (rows, cols - 1)) if r and c]
        rows, cols = min(smaller, key=lambda side: abs(math.log(side[0] / side[1] * width / height)))
    return rows * snap, cols * snap


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """``[3, height, width]`` as OpenCV does it: by area where the image becomes smaller, else bicubic. Floats stay floats."""
    old = image.shape[1:]
    if tuple(old) == (height, width):
        return image
    if height * width >= old[0] * old[1]:
        y = interpolate(image[None].float(), size=(height, width), mode="bicubic", align_corners=False)[0]
    else:
        along = _area if height <= old[0] and width <= old[1] else _stretched
        y = along(along(image.double().transpose(1, 2), height).transpose(1, 2), width)
    return y.to(image.dtype) if image.is_floating_point() else y.round().clamp(0, 255).to(torch.uint8)


def to_pixels(image: Any, channels: str | None = None, scaled: bool = False) -> Tensor:
    """``uint8 [3, height, width]`` of a PIL image (upright, on white where it is transparent), an array or a tensor of uint8.

    ``channels`` says where an array has its channels, ``first`` or ``last``; else they are first where the first axis can hold
    them. ``scaled`` lets arrays hold floats, which stay as they are.
    """
    if hasattr(image, "getexif"):
        return _of_pillow(image)
    x = torch.as_tensor(image.copy() if hasattr(image, "strides") else image)  # torch knows no negative strides
    x = x[None] if x.ndim == 2 else x
    last = channels == "last" or (channels is None and x.ndim == 3 and x.shape[0] not in CHANNELS)
    x = x.permute(2, 0, 1) if last and x.ndim == 3 else x
    if x.ndim != 3 or x.shape[0] not in CHANNELS or not (x.dtype == torch.uint8 or (scaled and x.is_floating_point())):
        raise ValueError(f"image of shape {list(x.shape)} and {x.dtype}: give RGB of 0 to 255 as uint8 [height, width, 3]")
    return _opaque(x).expand(3, -1, -1)


def _of_pillow(image: Any) -> Tensor:
    """Loaded first: with the pixels Pillow turns a TIFF, and then forgets its orientation."""
    image.load()
    try:
        turn = image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF data raises nearly anything, and says nothing about the pixels
        turn = 1
    if image.mode[0] in "IF":
        return _upright(_upper_bits(image).expand(3, -1, -1), turn)
    image = image.convert("LA") if image.mode == "La" else image
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return _upright(_opaque(data.reshape(image.height, image.width, -1).permute(2, 0, 1)), turn)


def _upper_bits(image: Any) -> Tensor:
    """``[1, height, width]``: the upper 8 of the 16 bits of grey values."""
    if image.mode[0] == "I":
        grey = torch.frombuffer(bytearray(image.convert("I").tobytes()), dtype=torch.int32)
        if grey.min() >= 0 and grey.max() <= 0xFFFF:
            return (grey.reshape(1, image.height, image.width) >> 8).to(torch.uint8)
    raise ValueError(f"image of mode {image.mode!r}: values without a known range; convert it to 8 bits a channel")


def _opaque(x: Tensor) -> Tensor:
    """``[channels, height, width]`` laid on white where there are four channels."""
    if x.shape[0] != 4:
        return x
    if x.is_floating_point():
        return x[:3] * x[3:] + (1 - x[3:])
    share = x[3:].float() / 255
    return (x[:3] * share + 255 * (1 - share)).round().to(torch.uint8)


def _upright(x: Tensor, orientation: int) -> Tensor:
    """What a camera's orientation (EXIF, 1 to 8) asks for."""
    x = x.transpose(1, 2) if orientation in (5, 6, 7, 8) else x
    axes = {2: [2], 3: [1, 2], 4: [1], 6: [2], 7: [1, 2], 8: [1]}.get(orientation, [])
    return x.flip(axes)


def normalise(image: Tensor, mean: Sequence[float], std: Sequence[float], factor: float = 1 / 255) -> Tensor:
    """``[3, height, width]`` -> float: its values times ``factor``, normalised."""
    shift, scale = (torch.tensor(values, device=image.device)[:, None, None] for values in (mean, std))
    return (image.to(shift.dtype) / (1 / factor) - shift) / scale


def _area(x: Tensor, size: int) -> Tensor:
    """The mean over ``size`` equal parts of the last axis, which may cut through a pixel."""
    count = x.shape[-1]
    edges = torch.arange(size + 1, device=x.device, dtype=x.dtype) * count / size
    whole = edges.floor().long().clamp(max=count - 1)
    total = pad(x.cumsum(-1), (1, 0))[..., whole] + (edges - whole) * x[..., whole]
    return total.diff(dim=-1) * size / count


def _stretched(x: Tensor, size: int) -> Tensor:
    """What OpenCV does by area where only one side shrinks: each pixel lies between two of the last axis."""
    count = x.shape[-1]
    place = torch.arange(size, device=x.device, dtype=x.dtype)
    low = (place * count / size).floor()
    share = (place + 1) - (low + 1) * size / count
    share = torch.where(share <= 0, 0, share - share.floor())
    first = low.long().clamp(max=count - 1)
    return x[..., first] * (1 - share) + x[..., (first + 1).clamp(max=count - 1)] * share
