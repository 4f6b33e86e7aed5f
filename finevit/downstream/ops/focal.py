"""Focal losses (arXiv 1708.02002) and their gradients by the formulas of mmcv's CUDA kernels; mmcv has none for processors.

``target``: N class indices; what is not a class has none. ``weight``: a weight per class, or empty. ``input``: N x C logits.
"""

import torch
from torch import Tensor

from finevit.downstream.ops.dtypes import wide

LEAST = torch.finfo(torch.float32).tiny
"""Probabilities have at least this size in logarithms; half precision has no room for it."""


@torch.no_grad()
def sigmoid_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float) -> None:
    """Writes ``output``, N x C."""
    _check(target, input.shape[1])
    p = _sigmoid(input)
    positive = -alpha * (1 - p) ** gamma * p.clamp(min=LEAST).log()
    negative = -(1 - alpha) * p**gamma * (1 - p).clamp(min=LEAST).log()
    output.copy_(_choose(target, positive, negative) * _weights(weight, target)[:, None])


@torch.no_grad()
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Writes ``grad_input``, N x C: the gradient of each loss in its logit."""
    p = _sigmoid(input)
    positive = -alpha * (1 - p) ** gamma * (1 - p - gamma * p * p.clamp(min=LEAST).log())
    negative = -(1 - alpha) * p**gamma * (gamma * (1 - p) * (1 - p).clamp(min=LEAST).log() - p)
    grad_input.copy_(_choose(target, positive, negative) * _weights(weight, target)[:, None])


@torch.no_grad()
def softmax_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float) -> None:
    """Writes ``output``, N. ``input`` holds probabilities. Negative targets cost nothing."""
    _check(target, input.shape[1])
    p = _of_target(input, target)
    loss = -alpha * (1 - p) ** gamma * p.clamp(min=LEAST).log()
    output.copy_(torch.where(target >= 0, loss, 0) * _weights(weight, target))


@torch.no_grad()
def softmax_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Writes ``grad_input``, N x C: the gradient in the logits; ``buff``, N, is what its rows share."""
    p = _of_target(input, target)
    slope = alpha * (-((1 - p) ** gamma) + gamma * (1 - p) ** (gamma - 1) * p * p.clamp(min=LEAST).log())
    slope = torch.where(target >= 0, slope, 0) * _weights(weight, target)
    buff.copy_(slope)
    grad = slope[:, None] * (_is_target(target, input.shape[1]).to(slope.dtype) - wide(input))
    grad_input.copy_(torch.where(target[:, None] >= 0, grad, 0))


def _sigmoid(logits: Tensor) -> Tensor:
    return 1 / (1 + (-wide(logits)).exp())


def _is_target(target: Tensor, classes: int) -> Tensor:
    return target[:, None] == torch.arange(classes, device=target.device)


def _choose(target: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    return torch.where(_is_target(target, positive.shape[1]), positive, negative)


def _of_target(probabilities: Tensor, target: Tensor) -> Tensor:
    return wide(probabilities).gather(1, target.clamp(min=0)[:, None])[:, 0]


def _weights(weight: Tensor, target: Tensor) -> Tensor:
    """Of each target; 1 without weights. A target without a weight is an error: mmcv reads beyond its tensor there."""
    if not weight.numel():
        return weight.new_ones((), dtype=torch.float32).expand(len(target))
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < len(weight):
        found = f"targets from {int(target.min())} to {int(target.max())}"
        raise ValueError(f"focal loss: weight has {len(weight)} entries for {found}; leave weight out, or the others' rows")
    return wide(weight)[target]


def _check(target: Tensor, classes: int) -> None:
    if target.numel() and int(target.max()) > classes:
        raise ValueError(
            f"focal loss: target {int(target.max())} is larger than the number of classes, {classes}; check the labels"
        )
