"""The pictures of the Stage I page: unseen images, what of them was hidden, and the features of teacher and student as colours."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from finevit.ops.patches import unpatchify
from finevit.packing.packs import PackedImages
from finevit.visualization.pca import ColourBasis, colour_basis, colour_maps
from finevit.visualization.report import Section, fragment

GREY = 128
"""What a hidden patch looks like."""


class MaskedView(NamedTuple):
    """One image as the model saw it: ``image uint8 [height, width, 3]``, ``shape`` (rows, columns), ``mask [patches]``, features
    ``[patches, ...]``: ``target``, ``prediction`` (from the masked image), ``tokens`` (of the whole image)."""

    image: Tensor
    shape: tuple[int, int]
    mask: Tensor
    target: Tensor
    prediction: Tensor
    tokens: Tensor


class Column(NamedTuple):
    """A column of the gallery: ``pictures`` are data URIs, one a row; ``pixelated`` ones have one pixel a patch."""

    title: str
    note: str
    pictures: list[str]
    pixelated: bool = True


def views(images: PackedImages, predictions: Sequence[dict], count: int) -> list[MaskedView]:
    """The first ``count`` images of a loader's batch (pixels still uint8) with the model's predictions for them."""
    patch = round((images.pixels.shape[1] / 3) ** 0.5)
    found: list[MaskedView] = []
    for pixels, shape, values in zip(images.pixels.split(list(images.seqlens)), images.shapes, predictions, strict=True):
        if len(found) == count:
            break
        features = (values[name].detach().half().cpu() for name in ("target", "prediction", "tokens"))
        image = unpatchify(pixels, shape, patch).permute(1, 2, 0).contiguous()
        found.append(MaskedView(image.cpu(), shape, values["mask"].cpu(), *features))
    return found


def columns(before: Sequence[MaskedView], after: Sequence[MaskedView]) -> list[Column]:
    """The columns of the page: predictions in the teacher's colours; tokens, which live in a space of their own, in theirs."""
    if not after:
        return []
    shapes = [view.shape for view in after]
    basis = colour_basis(torch.cat([view.target.float() for view in after]))
    result = [
        Column("Image", "never seen in training", [jpeg(view.image) for view in after], pixelated=False),
        Column("Masked", "what the student sees", [jpeg(masked(view)) for view in after], pixelated=False),
        Column("Teacher", "its features of the whole image", coloured([v.target.float() for v in after], shapes, basis)),
    ]
    moments = [("before", before), ("after", after)] if len(before) == len(after) else [("after", after)]
    for name, shown in moments:
        shades = coloured([v.prediction.float() for v in shown], shapes, basis)
        result.append(Column(f"Prediction {name}", "from the masked image, in the teacher's colours", shades))
    for name, shown in moments:
        result.append(
            Column(
                f"Tokens {name}",
                "of the whole image, in colours of their own",
                coloured([v.tokens.float() for v in shown], shapes),
            )
        )
    return result


def sections(title: str, columns: Sequence[Column], *, template: str = "gallery.html", note: str = "") -> list[Section]:
    """The columns as a table under a title, or in another arrangement; nothing where there are none."""
    if not columns:
        return []
    rows = list(zip(*(column.pictures for column in columns), strict=True))
    return [Section(title, fragment(template, columns=columns, rows=rows), note)]


def masked(view: MaskedView) -> Tensor:
    """The image with its hidden patches grey: ``uint8 [height, width, 3]``."""
    hidden = interpolate(view.mask.reshape(1, 1, *view.shape).float(), size=view.image.shape[:2], mode="nearest")[0, 0].bool()
    return torch.where(hidden[..., None], torch.tensor(GREY, dtype=torch.uint8), view.image)


def jpeg(image: Tensor | np.ndarray, *, side: int | None = None) -> str:
    """``uint8 [height, width, 3]`` as a data URI, no side longer than ``side`` pixels."""
    picture = Image.fromarray(np.asarray(image))
    if side is not None:
        picture.thumbnail((side, side))
    return _uri(picture, "jpeg", quality=82)


def png(colours: Tensor) -> str:
    """RGB in [0, 1], ``[rows, cols, 3]``, as a data URI."""
    return _uri(Image.fromarray((colours * 255).round().byte().numpy()), "png", optimize=True)


def coloured(features: list[Tensor], shapes: list[tuple[int, int]], basis: ColourBasis | None = None) -> list[str]:
    """Features ``[patches, ...]`` of some images as data URIs of their colour maps."""
    return [png(colours) for colours in colour_maps(features, shapes, basis)]


def _uri(image: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
