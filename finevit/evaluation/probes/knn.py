"""k-NN classification by cosine similarity, as the DINO papers count: weights exp(similarity / 0.07), k by the held-out images."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from finevit.evaluation.probes.choice import Outcome, at_most, best, counted, hold_out, told

KNN_PROTOCOL = "knn/cosine-t0.07-v1"
TEMPERATURE = 0.07
NEIGHBOURS = (10, 20, 100, 200)


def votes(
    query: Float[Tensor, "queries dim"],
    gallery: Float[Tensor, "gallery dim"],
    labels: Int[Tensor, " gallery"],
    *,
    ks: Sequence[int],
    classes: int,
) -> list[Float[Tensor, "queries classes"]]:
    """For each k, what the k nearest say: their weights, added up by class and as shares of the weights of the largest k."""
    unit, far = normalize(gallery.float(), dim=-1), max(ks)
    blocks = [_nearest(part, unit, labels, far) for part in normalize(query.float(), dim=-1).split(at_most(unit))]
    weight, named = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    empty = weight.new_zeros(len(query), classes)
    return [empty.scatter_add(1, named[:, :k], weight[:, :k]) for k in ks]


def fitting(gallery: int) -> list[int]:
    """The k of the protocol, none larger than the gallery."""
    return sorted({min(k, gallery) for k in NEIGHBOURS})


def probe_knn(
    train: Float[Tensor, "train dim"],
    train_y: Int[Tensor, " train"],
    test: Float[Tensor, "test dim"],
    test_y: Int[Tensor, " test"],
    *,
    classes: int,
    seed: int,
    parts: tuple[Tensor, Tensor] | None = None,
) -> Outcome:
    """Top-1 on the test set with the k that is best on the held-out part of the training set; the gallery is all of that.

    ``parts`` are the indices that fit and that choose, where rows are not images (regions of one image stay together).
    """
    fit, held = parts or hold_out(len(train), seed=seed)
    ks = fitting(len(fit))
    answers = votes(train[held], train[fit], train_y[fit], ks=ks, classes=classes)
    tried = {k: counted(said.argmax(1), train_y[held])["top1"] for k, said in zip(ks, answers, strict=True)}
    chosen = best(tried)
    every = votes(test, train, train_y, ks=ks, classes=classes)
    each = {f"top1_k{k}": counted(said.argmax(1), test_y)["top1"] for k, said in zip(ks, every, strict=True)}
    metrics = {**counted(every[ks.index(chosen)].argmax(1), test_y), **each}
    return Outcome(metrics, told("k", chosen, list(tried.values())), {str(k): score for k, score in tried.items()})


def _nearest(query: Tensor, gallery: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Weights and labels of the ``k`` nearest: ``[queries, k]`` each."""
    similarity, index = (query @ gallery.T).topk(k, dim=1)
    return (similarity / TEMPERATURE).softmax(1), labels[index]
