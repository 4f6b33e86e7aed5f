"""Linear classification of frozen features: SGD over a grid of learning rates and of features, all learned side by side.

As DINOv3's ``eval/linear.py``: momentum 0.9, no weight decay, cosine to 0, weights from N(0, 0.01), 10 epochs; rates are per 256
images, and reach a hundred times further than there: on features of a small scale the largest of DINOv3's does not converge. The
encoder has no class token: in its place stands its pooled vector where that is learned, else the mean alone.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from finevit.evaluation.probes.choice import Outcome, batches, best, cosine, counted, hold_out, search, told

LINEAR_PROTOCOL = "linear/sgd-grid-v2"
RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCH, EPOCHS, LEAST = 128, 10, 500
"""``LEAST`` steps are taken however few images there are."""
MOMENTUM, DEVIATION = 0.9, 0.01


def features(means: Float[Tensor, "images blocks dim"], pooled: Float[Tensor, "images dim"]) -> dict[str, Tensor]:
    """``last-1``: pooled vector and mean patch token of the last block; ``last-4``: the means of all ``blocks`` beside them."""
    learned = [] if torch.allclose(pooled, means[:, -1], atol=1e-2) else [pooled]
    last = torch.cat([*learned, means[:, -1]], dim=1)
    return {"last-1": last, f"last-{means.shape[1]}": torch.cat([last, means[:, :-1].flatten(1)], dim=1)}


def train_linear(
    x: Float[Tensor, "images features"], y: Int[Tensor, " images"], *, classes: int, rates: Sequence[float], seed: int
) -> tuple[Float[Tensor, "rates features classes"], Float[Tensor, "rates classes"]]:
    """Weights and biases of one classifier for each rate, learned in one pass over the same batches."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(x.shape[1], classes, generator=generator) * DEVIATION
    weight = start.to(x.device).repeat(len(rates), 1, 1)
    bias = weight.new_zeros(len(rates), 1, classes)
    moved = [torch.zeros_like(weight), torch.zeros_like(bias)]
    rate = torch.tensor(rates, device=x.device)[:, None, None] * (BATCH / 256)
    size = min(BATCH, len(x))
    steps = max(LEAST, EPOCHS * (len(x) // size))
    for step, index in enumerate(batches(len(x), size=size, steps=steps, seed=seed)):
        part, now = x[index], rate * cosine(step, steps)
        error = ((part @ weight + bias).softmax(-1) - one_hot(y[index], classes)) / len(index)
        for value, motion, gradient in zip((weight, bias), moved, (part.T @ error, error.sum(1, keepdim=True)), strict=True):
            motion.mul_(MOMENTUM).add_(gradient)
            value.sub_(now * motion)
    return weight, bias[:, 0]


def probe_linear(
    train: Mapping[str, Tensor], train_y: Tensor, test: Mapping[str, Tensor], test_y: Tensor, *, classes: int, seed: int
) -> Outcome:
    """Top-1 on the test set of the rate and features that are best on the held-out images, learned anew from all training images.

    ``train`` and ``test`` are features by name, ``[images, ...]`` each.
    """
    fit, held = hold_out(len(train_y), seed=seed)

    def judge(x: Tensor, rates: Sequence[float]) -> list[float]:
        weight, bias = train_linear(x[fit], train_y[fit], classes=classes, rates=rates, seed=seed)
        return [counted(said, train_y[held])["top1"] for said in (x[held] @ weight + bias[:, None]).argmax(-1)]

    reached = {name: search(RATES, partial(judge, x)) for name, x in train.items()}
    tried = {f"{name} lr={rate:g}": score for name, scores in reached.items() for rate, score in scores.items()}
    name = best({name: scores[best(scores)] for name, scores in reached.items()})
    rate = best(reached[name])
    weight, bias = train_linear(train[name], train_y, classes=classes, rates=[rate], seed=seed)
    answers = (test[name] @ weight[0] + bias[0]).argmax(-1)
    chosen = {"features": name, **told("learning_rate", rate, list(reached[name].values()))}
    return Outcome(counted(answers, test_y), chosen, tried)
