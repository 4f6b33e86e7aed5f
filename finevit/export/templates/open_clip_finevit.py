"""FineViT's two towers as users of open_clip and CLIP_benchmark expect them: ``model, preprocess, tokenizer = load(FOLDER)``."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from .encoder_finevit import Encoder
from .pixels_finevit import normalise, resize, snapped_size, to_pixels
from .text_finevit import TextTower, Tokenizer, TransformersTower


class Visual(nn.Module):
    """The image tower: ``image_size``, ``image_mean``, ``image_std`` and ``preprocess_cfg`` as in open_clip.

    Args:
        encoder: arguments of the encoder.
        image: how images are prepared.
        embed_dim: width of the shared space.
    """

    def __init__(self, *, encoder: dict[str, Any], image: dict[str, Any], embed_dim: int) -> None:
        super().__init__()
        self.encoder = Encoder(**encoder)
        self.projection = nn.Linear(encoder["dim"], embed_dim, bias=False)
        side = max(1, math.isqrt(image["pixels"]) // image["snap"]) * image["snap"]
        self.image_size, self.image_mean, self.image_std = (side, side), tuple(image["mean"]), tuple(image["std"])
        self.preprocess_cfg: dict[str, Any] = {
            "size": self.image_size,
            "mode": "RGB",
            "mean": self.image_mean,
            "std": self.image_std,
        }
        self.preprocess_cfg |= {"interpolation": "bicubic", "resize_mode": "squash", "fill_color": 0}

    def forward(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """``[batch, 3, height, width]``, or a list of images ``[3, height, width]`` of any sizes -> ``[batch, embed]``."""
        if isinstance(images, Tensor):
            return self.projection(self.encoder.encode(images)[1])
        return torch.cat([self(image[None]) for image in images])


class FineViTCLIP(nn.Module):
    """Images and texts in one space.

    Args:
        encoder: arguments of the image encoder.
        image: how images are prepared.
        text: arguments of the text tower; with ``class`` it is one of Transformers, with its config in the folder.
        embed_dim: width of the shared space.
        sigmoid: whether the loss was SigLIP's, which learns a bias.
        context_length: tokens of a text, at most.
        output_dict: whether :meth:`forward` gives a dict.
        folder: where the text tower's config is.
    """

    def __init__(
        self,
        *,
        encoder: dict[str, Any],
        image: dict[str, Any],
        text: dict[str, Any],
        embed_dim: int,
        sigmoid: bool,
        context_length: int = 0,
        output_dict: bool = False,
        folder: str | Path = ".",
    ) -> None:
        super().__init__()
        self.output_dict, self.context_length = output_dict, context_length
        self.visual = Visual(encoder=encoder, image=image, embed_dim=embed_dim)
        self.text = TransformersTower(**text, folder=folder) if "tower_class" in text else TextTower(**text)
        self.text_projection = nn.Linear(self.text.dim, embed_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.logit_bias = nn.Parameter(torch.zeros(())) if sigmoid else None

    def encode_image(self, image: Tensor | Sequence[Tensor], normalize: bool = False) -> Tensor:
        """``[batch, embed]``; unit vectors with ``normalize``. A list of images may have any sizes."""
        return _maybe_unit(self.visual(image), normalize)

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Token ids ``[batch, length]`` as the tokenizer gives them -> ``[batch, embed]``; unit vectors with ``normalize``."""
        return _maybe_unit(self.text_projection(self.text(text)), normalize)

    def get_logits(self, image: Tensor | Sequence[Tensor], text: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every image with every text, and the reverse."""
        logits = self.logit_scale.exp() * self.encode_image(image, normalize=True) @ self.encode_text(text, normalize=True).T
        logits = logits if self.logit_bias is None else logits + self.logit_bias
        return logits, logits.T

    def forward(self, image: Any = None, text: Tensor | None = None) -> tuple[Tensor | None, ...] | dict[str, Tensor | None]:
        """Features of images and of texts, unit vectors, the scale (not its logarithm) and, where there is one, the bias: a tuple,
        as in open_clip, or with ``output_dict`` a dict of ``image_features``, ``text_features``, ``logit_scale`` and so on."""
        found = {
            "image_features": None if image is None else self.encode_image(image, normalize=True),
            "text_features": None if text is None else self.encode_text(text, normalize=True),
            "logit_scale": self.logit_scale.exp(),
        }
        if self.logit_bias is not None:
            found["logit_bias"] = self.logit_bias
        return found if self.output_dict else tuple(found.values())


class Preprocess:
    """An image -> ``[3, height, width]``: a square of ``image_size``, or with ``native`` at its own aspect ratio."""

    def __init__(self, image: dict[str, Any], native: bool) -> None:
        self.image, self.native = image, native

    def __call__(self, image: Any) -> Tensor:
        pixels, settings = to_pixels(image), self.image
        size = snapped_size(*pixels.shape[1:], pixels=settings["pixels"], square=not self.native, snap=settings["snap"])
        return normalise(resize(pixels, *size), settings["mean"], settings["std"])


def load(
    folder: str | Path, device: str | torch.device = "cpu", native: bool = False, output_dict: bool = False
) -> tuple[FineViTCLIP, Preprocess, Tokenizer]:
    """Model in evaluation mode, what prepares an image, and what prepares texts.

    ``native`` keeps the aspect ratio of images, as in training: then give ``encode_image`` a list, or images of one size.
    ``output_dict`` is open_clip's: ``model(image, text)`` gives a dict.
    """
    place = Path(folder)
    settings = json.loads((place / "open_clip_finevit.json").read_text())
    tokenizer = Tokenizer(folder=place, **settings["tokenizer"])
    length = tokenizer.context_length
    model = FineViTCLIP(**settings["model"], context_length=length, output_dict=output_dict, folder=place)
    model.load_state_dict(load_file(place / "model.safetensors"))
    return model.to(device).eval(), Preprocess(settings["model"]["image"], native), tokenizer


def _maybe_unit(vectors: Tensor, wanted: bool) -> Tensor:
    return normalize(vectors, dim=-1) if wanted else vectors
