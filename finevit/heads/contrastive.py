"""Heads of the contrastive stage: the shared space of images and texts, and its objective (paper, Stage II; SigLIP, CLIP)."""

import math
from typing import Annotated

import torch
from annotated_types import Gt, Le
from jaxtyping import Float
from mmengine.model import BaseModule
from pydantic import FiniteFloat, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import normalize

from finevit.contracts import Head
from finevit.ops.contrastive import sigmoid_loss, softmax_loss
from finevit.registry import MODELS

HIGHEST_SCALE = 100.0
"""The learned inverse temperature goes no higher, as in CLIP."""
Scale = Annotated[float, Gt(0), Le(HIGHEST_SCALE)]


class ContrastiveHead(BaseModule, Head):
    """Projects both towers' vectors to unit vectors of one space; subclasses give the objective.

    Args:
        image_dim: width of the image tower.
        text_dim: width of the text tower.
        embed_dim: width of the shared space.
        logit_scale: initial inverse temperature ``tau``; the parameter ``logit_scale`` is its logarithm, as in CLIP and open_clip.
        chunk: the loss looks at blocks of ``chunk x chunk`` pairs at a time, which bounds its memory.
        weight: weight of the loss; a schedule can set it.
    """

    def __init__(
        self,
        *,
        image_dim: PositiveInt,
        text_dim: PositiveInt,
        embed_dim: PositiveInt = 256,
        logit_scale: Scale = 10.0,
        chunk: PositiveInt = 1024,
        weight: NonNegativeFloat = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.chunk, self.weight, self.embed_dim = chunk, weight, embed_dim
        self.image = nn.Linear(image_dim, embed_dim, bias=False)
        self.text = nn.Linear(text_dim, embed_dim, bias=False)
        for projection in (self.image, self.text):
            nn.init.trunc_normal_(projection.weight, std=projection.in_features**-0.5)
        self.logit_scale = nn.Parameter(
            torch.tensor([math.log(logit_scale)])
        )  # a vector: exempt from weight decay like all of them

    @property
    def tau(self) -> Float[Tensor, ""]:
        """The inverse temperature ``tau``. The parameter is held down, not its exponential, whose gradient would be lost there."""
        if self.training:
            with torch.no_grad():
                self.logit_scale.clamp_(max=math.log(HIGHEST_SCALE))
        return self.logit_scale[0].exp()

    def embed_images(self, vectors: Float[Tensor, "images dim"]) -> Float[Tensor, "images embed"]:
        """Unit vectors of the shared space."""
        return _unit(self.image(vectors))

    def embed_texts(self, vectors: Float[Tensor, "texts dim"]) -> Float[Tensor, "texts embed"]:
        """Unit vectors of the shared space."""
        return _unit(self.text(vectors))


@MODELS.register_module()
class SigmoidHead(ContrastiveHead):
    """SigLIP's objective: every pair of an image and a text is a decision of its own.

    ``z_ij = tau * <image_i, text_j> + b`` with learned ``tau`` and ``b``; the loss is ``-1/n sum_ij log sigmoid(y_ij z_ij)``.
    (A summary of the paper prints ``tau * (x.y + b)``; SigLIP's own form is used.)

    Args:
        logit_bias: initial ``b``; about minus the logarithm of the batch, or less, so that the start is not all false alarms.
        options: see :class:`ContrastiveHead`.
    """

    def __init__(
        self,
        *,
        image_dim: PositiveInt,
        text_dim: PositiveInt,
        embed_dim: PositiveInt = 256,
        logit_scale: Scale = 10.0,
        logit_bias: FiniteFloat = -10.0,
        chunk: PositiveInt = 1024,
        weight: NonNegativeFloat = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            image_dim=image_dim,
            text_dim=text_dim,
            embed_dim=embed_dim,
            logit_scale=logit_scale,
            chunk=chunk,
            weight=weight,
            init_cfg=init_cfg,
        )
        self.logit_bias = nn.Parameter(torch.tensor([float(logit_bias)]))

    def loss(self, image: Float[Tensor, "images embed"], text: Float[Tensor, "images embed"]) -> dict[str, Tensor]:
        """``loss_sigmoid`` over the pairs of all ranks, the current ``temperature`` (``1 / tau``) and ``logit_bias``."""
        loss = sigmoid_loss(image, text, self.tau, self.logit_bias[0], chunk=self.chunk)
        return {"loss_sigmoid": self.weight * loss, "temperature": 1 / self.tau.detach(), "logit_bias": self.logit_bias.detach()[0]}


@MODELS.register_module()
class SoftmaxHead(ContrastiveHead):
    """CLIP's objective: each image picks its text among all, each text its image. Arguments as of :class:`ContrastiveHead`."""

    def loss(self, image: Float[Tensor, "images embed"], text: Float[Tensor, "images embed"]) -> dict[str, Tensor]:
        """``loss_softmax`` over the pairs of all ranks and the current ``temperature``."""
        loss = softmax_loss(image, text, self.tau, chunk=self.chunk)
        return {"loss_softmax": self.weight * loss, "temperature": 1 / self.tau.detach()}


def _unit(vectors: Float[Tensor, "n embed"]) -> Float[Tensor, "n embed"]:
    """The vectors at length 1, in float32 at least."""
    return normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)
