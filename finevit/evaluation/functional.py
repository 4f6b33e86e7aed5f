"""Measures on plain tensors: explained variance of features, and a linear probe on frozen patch tokens.

Nothing here knows of MMEngine, models or files. A protocol's id changes whenever its numbers could.
"""

from functools import reduce
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

VARIANCE_PROTOCOL = "masked-r2/v1"
"""R^2 over all channels together, around the mean of each channel over the evaluated patches."""
PROBE_PROTOCOL = "patch-probe/lbfgs-v1"
"""Multinomial logistic regression on standardised features, L2 1e-3 (mean loss), at most 100 steps of L-BFGS."""
PROBE_L2 = 1e-3
PROBE_STEPS = 100


class Deviations(NamedTuple):
    """What is kept of a set of features to know its R^2, in float64: mergeable, so that sets can be streamed.

    ``number`` of patches; then ``[features]`` each: ``mean``, ``spread`` (squared distances of target to mean) and ``error``
    (squared distances of the prediction to the target).
    """

    number: int
    mean: Tensor
    spread: Tensor
    error: Tensor

    def __add__(self, other: "Deviations") -> "Deviations":  # type: ignore[override]
        """The union of two disjoint sets (Chan's update: exact, without large sums of squares)."""
        number = self.number + other.number
        if number == 0:
            return self
        shift = other.mean - self.mean
        between = shift.square() * (self.number * other.number / number)
        mean = self.mean + shift * (other.number / number)
        return Deviations(number, mean, self.spread + other.spread + between, self.error + other.error)

    def r2(self) -> float:
        """1 - squared error / squared deviation, both summed over all channels; ``nan`` where the target is constant."""
        spread = float(self.spread.sum())
        return 1 - float(self.error.sum()) / spread if spread else float("nan")


def deviations(prediction: Float[Tensor, "patches features"], target: Float[Tensor, "patches features"]) -> Deviations:
    """The sums of one set of patches, which may be empty."""
    wanted, error = target.double(), (prediction.double() - target.double()).square().sum(0)
    mean = wanted.mean(0) if len(wanted) else wanted.new_zeros(wanted.shape[1])
    return Deviations(len(wanted), mean, (wanted - mean).square().sum(0), error)


def explained_variance(prediction: Float[Tensor, "patches features"], target: Float[Tensor, "patches features"]) -> float:
    """R^2 of predicted features: 1 is perfect, 0 is as good as always answering the mean of each channel."""
    return deviations(prediction, target).r2()


def merged(parts: list[Deviations]) -> Deviations:
    """The union of all parts, of which there is at least one."""
    return reduce(Deviations.__add__, parts)


class ProbeScore(NamedTuple):
    """``accuracy`` is the share of patches named correctly, ``balanced`` the mean of that share over the test set's classes."""

    accuracy: float
    balanced: float


def linear_probe(
    train_x: Float[Tensor, "train features"],
    train_y: Int[Tensor, " train"],
    test_x: Float[Tensor, "test features"],
    test_y: Int[Tensor, " test"],
    *,
    classes: int,
) -> ProbeScore:
    """Top-1 accuracy of a linear classifier on frozen features, deterministic (protocol ``PROBE_PROTOCOL``).

    ``classes`` is the number of class ids; the two sets must come from different images. Raises ``ValueError`` if either is empty.
    """
    if not len(train_y) or not len(test_y):
        raise ValueError(f"a probe needs labelled patches in both sets, got {len(train_y)} to train and {len(test_y)} to test on")
    mean, std = train_x.float().mean(0), train_x.float().std(0, unbiased=False).clamp(min=1e-6)
    weight, bias = _logistic_regression((train_x.float() - mean) / std, train_y, classes)
    answers = ((test_x.float() - mean) / std @ weight + bias).argmax(1)
    right = (answers == test_y).float()
    per_class = [right[test_y == label].mean() for label in test_y.unique()]
    return ProbeScore(float(right.mean()), float(torch.stack(per_class).mean()))


@torch.enable_grad()
def _logistic_regression(x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """``weight [features, classes]`` and ``bias [classes]`` that minimise cross entropy + L2 / 2 * ||weight||^2."""
    weight = x.new_zeros(x.shape[1], classes, requires_grad=True)
    bias = x.new_zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS((weight, bias), max_iter=PROBE_STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = cross_entropy(x @ weight + bias, y) + PROBE_L2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    return weight.detach(), bias.detach()
