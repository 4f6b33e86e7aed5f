"""Predicts a teacher's patch features from the encoder's tokens (paper, Stage I)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from mmengine.model import BaseModule
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from finevit.contracts import Head
from finevit.ops.distillation import squared_distance
from finevit.registry import MODELS


@MODELS.register_module()
class DistillationHead(BaseModule, Head):
    """A linear prediction of features and the masked squared distance.

    Args:
        dim: width of the encoder.
        target_dim: width of the teacher's features.
        target_norm: ``none`` (the paper's objective), ``layer`` (each target vector to mean 0, variance 1), or ``channel`` (each
            channel standardised by running statistics over the training data).
        visible_weight: weight of the same distance on the patches that were not masked; 0 is the paper's objective.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(
        self,
        *,
        dim: PositiveInt,
        target_dim: PositiveInt,
        target_norm: Literal["none", "layer", "channel"] = "none",
        visible_weight: NonNegativeFloat = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.target_norm, self.visible_weight = target_norm, visible_weight
        self.predict = nn.Linear(dim, target_dim)
        nn.init.trunc_normal_(self.predict.weight, std=0.02)
        nn.init.zeros_(self.predict.bias)
        self.register_buffer("mean", torch.zeros(target_dim))
        self.register_buffer("variance", torch.ones(target_dim))
        self.register_buffer("batches", torch.zeros(()))

    def loss(
        self,
        tokens: Float[Tensor, "patches dim"],
        target: Float[Tensor, "patches features"],
        mask: Bool[Tensor, " patches"] | None,
    ) -> dict[str, Tensor]:
        """``loss_masked`` and, where weighted, ``loss_visible``; ``r2``: explained variance of the batch's masked features.

        Without a mask, where masked patches were left out, ``loss_visible`` alone, and ``r2`` of all patches.
        """
        if self.training:
            self._observe(target)
        prediction, wanted = self.predict(tokens), self.normalise(target)
        if mask is None:
            everywhere = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
            distance = squared_distance(prediction, wanted, everywhere)
            return {"loss_visible": self.visible_weight * distance, "r2": _explained(distance, wanted, everywhere)}
        losses = {"loss_masked": squared_distance(prediction, wanted, mask)}
        if self.visible_weight:
            losses["loss_visible"] = self.visible_weight * squared_distance(prediction, wanted, ~mask)
        return {**losses, "r2": _explained(losses["loss_masked"], wanted, mask)}

    def normalise(self, target: Float[Tensor, "patches features"]) -> Float[Tensor, "patches features"]:
        """The teacher's features as the objective sees them."""
        if self.target_norm == "layer":
            return layer_norm(target, target.shape[-1:])
        if self.target_norm == "channel":
            return (target - self.mean) / (self.variance + 1e-6).sqrt()
        return target

    def features(self, tokens: Float[Tensor, "patches dim"]) -> Float[Tensor, "patches features"]:
        """Predicted features; with ``channel`` in the teacher's own units, with ``layer`` in normalised ones."""
        prediction = self.predict(tokens)
        return prediction * (self.variance + 1e-6).sqrt() + self.mean if self.target_norm == "channel" else prediction

    def observed(self, target: Float[Tensor, "patches features"]) -> Float[Tensor, "patches features"]:
        """The teacher's features in the units of :meth:`features`."""
        return self.normalise(target) if self.target_norm == "layer" else target

    @torch.no_grad()
    def _observe(self, target: Tensor) -> None:
        """Running statistics per channel: a plain average over the first 100 batches, then exponential."""
        if self.target_norm != "channel":
            return
        self.batches += 1
        momentum = (1 / self.batches).clamp(min=0.01)
        centre = target.mean(0)
        shift, spread = centre - self.mean, (target - centre).square().mean(0)
        self.variance.lerp_(spread + shift.square() * (1 - momentum), momentum)
        self.mean.add_(shift * momentum)


@torch.no_grad()
def _explained(distance: Tensor, wanted: Tensor, among: Tensor) -> Tensor:
    """The share of the variance of the patches ``among`` all that a prediction at this distance explains."""
    centre = (wanted * among[:, None]).sum(0) / among.sum().clamp(min=1)
    return 1 - distance / squared_distance(centre.expand_as(wanted), wanted, among).clamp(min=1e-9)
