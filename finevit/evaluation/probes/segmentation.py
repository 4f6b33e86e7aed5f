"""Semantic segmentation by a linear layer on frozen patch tokens: batch norm and a 1 x 1 convolution, upsampled, mIoU.

As DINOv3's linear head on ADE20K; logits are compared with labels at the labels' own resolution, at training on a sample of pixels.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding_bag, interpolate

from finevit.evaluation.probes.choice import Outcome, batches, best, cosine, hold_out, search, told

SEGMENTATION_PROTOCOL = "segmentation/bn-linear-v2"
"""AdamW, weight decay 0.01, rate from the held-out images, cosine to 0; ``PIXELS`` of an image a step."""
RATES = (3e-4, 1e-3, 3e-3)
BATCH, EPOCHS, LEAST = 16, 10, 300
PIXELS, DECAY, DEVIATION = 512, 0.01, 0.01


class Labelled(NamedTuple):
    """An image: ``tokens [rows * cols, dim]``, its grid, and its pixels' classes, ``[height, width]``, -1 where none counts."""

    tokens: Tensor
    shape: tuple[int, int]
    labels: Tensor


class Head(nn.Sequential):
    """Batch norm and a linear layer on patch tokens, which is what a 1 x 1 convolution is; it starts near zero."""

    def __init__(self, *, dim: int, classes: int) -> None:
        super().__init__(nn.BatchNorm1d(dim), linear := nn.Linear(dim, classes))
        nn.init.normal_(linear.weight, std=DEVIATION)
        nn.init.zeros_(linear.bias)


def corners(
    pixels: Int[Tensor, "n 2"], size: tuple[int, int], shape: tuple[int, int]
) -> tuple[Int[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """Which cells of a grid a pixel lies between and how much of each it takes: bilinear, as ``interpolate`` upsamples."""
    scale = torch.tensor([shape[0] / size[0], shape[1] / size[1]])
    last = torch.tensor(shape) - 1
    place = ((pixels + 0.5) * scale - 0.5).clamp(min=0)
    low = place.floor().long().minimum(last)
    high, part = (low + 1).minimum(last), place - low
    index = [row * shape[1] + column for row in (low[:, 0], high[:, 0]) for column in (low[:, 1], high[:, 1])]
    weight = [row * column for row in (1 - part[:, 0], part[:, 0]) for column in (1 - part[:, 1], part[:, 1])]
    return torch.stack(index, 1), torch.stack(weight, 1)


def train_heads(images: Sequence[Labelled], *, classes: int, rates: Sequence[float], seed: int, device: torch.device) -> list[Head]:
    """One head for each rate, learned in one pass over the same pixels."""
    state, dim, size = torch.random.get_rng_state(), images[0].tokens.shape[1], min(BATCH, len(images))
    torch.manual_seed(seed)
    heads = [Head(dim=dim, classes=classes).to(device) for _ in rates]
    for head in heads[1:]:
        head.load_state_dict(heads[0].state_dict())
    torch.random.set_rng_state(state)
    solvers = [torch.optim.AdamW(h.parameters(), lr=r, weight_decay=DECAY) for h, r in zip(heads, rates, strict=True)]
    steps, generator = max(LEAST, EPOCHS * (len(images) // size)), torch.Generator().manual_seed(seed)
    for step, index in enumerate(batches(len(images), size=size, steps=steps, seed=seed)):
        tokens, cells, shares, truth = (part.to(device) for part in _sample([images[i] for i in index], generator))
        if not len(truth):
            continue
        for head, solver, rate in zip(heads, solvers, rates, strict=True):
            solver.param_groups[0]["lr"] = rate * cosine(step, steps)
            solver.zero_grad()
            logits = embedding_bag(cells, head(tokens), per_sample_weights=shares, mode="sum")
            cross_entropy(logits, truth).backward()
            solver.step()
    return [head.eval() for head in heads]


@torch.no_grad()
def segment(head: Head, image: Labelled, device: torch.device) -> Int[Tensor, "height width"]:
    """The class of every pixel, at the resolution of the labels."""
    logits = head(image.tokens.float().to(device)).T.unflatten(1, image.shape)[None]
    return interpolate(logits, size=image.labels.shape, mode="bilinear", align_corners=False)[0].argmax(0).cpu()


def confusion(pairs: Iterable[tuple[Tensor, Tensor]], classes: int) -> Int[Tensor, "true said"]:
    """How many pixels of a class were called what, over pairs of answer and truth; where the truth is negative, nothing counts."""
    total = torch.zeros(classes * classes, dtype=torch.long)
    for said, true in pairs:
        known = true >= 0
        total += torch.bincount(true[known].long() * classes + said[known].long(), minlength=classes * classes)
    return total.unflatten(0, (classes, classes))


def overlaps(table: Int[Tensor, "true said"]) -> dict[str, float]:
    """``miou`` and ``class_accuracy``, means over the classes that occur (in truth or answer; in truth), and ``pixel_accuracy``."""
    right, true, said = table.diagonal().double(), table.sum(1).double(), table.sum(0).double()
    iou, recall = right / (true + said - right), right / true
    return {
        "miou": float(iou.nanmean()),
        "class_accuracy": float(recall.nanmean()),
        "pixel_accuracy": float(right.sum() / true.sum()),
    }


def probe_segmentation(
    train: Sequence[Labelled], test: Sequence[Labelled], *, classes: int, seed: int, device: torch.device
) -> tuple[Outcome, Callable[[Labelled], Tensor]]:
    """mIoU on the test set with the rate that is best on the held-out images, and what segments an image with that head."""
    fit, held = hold_out(len(train), seed=seed)
    learned, judged = [train[i] for i in fit], [train[i] for i in held]

    def judge(rates: Sequence[float]) -> list[float]:
        heads = train_heads(learned, classes=classes, rates=rates, seed=seed, device=device)
        return [_judge(head, judged, classes, device)["miou"] for head in heads]

    tried = search(RATES, judge)
    rate = best(tried)
    (head,) = train_heads(train, classes=classes, rates=[rate], seed=seed, device=device)
    chosen = told("learning_rate", rate, list(tried.values()))
    outcome = Outcome(_judge(head, test, classes, device), chosen, {f"{rate:g}": score for rate, score in tried.items()})
    return outcome, lambda image: segment(head, image, device)


def _judge(head: Head, images: Sequence[Labelled], classes: int, device: torch.device) -> dict[str, float]:
    return overlaps(confusion(((segment(head, image, device), image.labels) for image in images), classes))


def _sample(images: Sequence[Labelled], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens of all images, and of pixels drawn from each: cells among the tokens, shares of these, and the true class."""
    cells, shares, truths, first = list[Tensor](), list[Tensor](), list[Tensor](), 0
    for image in images:
        height, width = image.labels.shape
        drawn = torch.randint(height * width, (PIXELS,), generator=generator)
        drawn = drawn[image.labels.flatten()[drawn] >= 0]
        index, weight = corners(torch.stack([drawn // width, drawn % width], 1), (height, width), image.shape)
        cells, shares = [*cells, index + first], [*shares, weight]
        truths.append(image.labels.flatten()[drawn].long())
        first += len(image.tokens)
    return torch.cat([image.tokens for image in images]).float(), torch.cat(cells), torch.cat(shares), torch.cat(truths)
