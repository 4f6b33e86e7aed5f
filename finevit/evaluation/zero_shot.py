"""Zero-shot classification on plain tensors: prompts by protocol, a classifier out of them, its accuracy (evaluation of Stage II).

Nothing here knows of MMEngine or models.
"""

import re
import string
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from finevit.suggest import did_you_mean

_FOLDER = Path(__file__).parent
SCENES = ("a {}", "a picture of a {}", "the object that fills most of the frame: the {}", "first in size comes the {}")
"""Prompts for the largest object of an embedded scene, in the words of its captions."""
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Protocol(NamedTuple):
    """``id`` goes with every number. ``templates`` have ``{}`` in place of the class. ``canonical``: as SigLIP evaluates, templates
    and names are lower case without punctuation, and of several names, with commas between them, the first counts."""

    id: str
    templates: tuple[str, ...]
    canonical: bool = False


@cache
def protocols() -> dict[str, Protocol]:
    """The protocols that need nothing of the data set but its classes."""
    openai = tuple(_lines("openai80.txt"))
    return {
        "openai80": Protocol("zero-shot/openai80-v1", openai),
        "siglip81-canonical": Protocol("zero-shot/siglip81-canonical-v1", (*openai, "{}"), canonical=True),
        "scenes": Protocol("zero-shot/scenes-v1", SCENES),
    }


def find_protocol(name: str, own: Sequence[str] = ()) -> Protocol:
    """The protocol of that name; ``own`` are the templates that the data set brings along, with ``{c}`` for the class.

    Raises ``ValueError`` for an unknown name, and for ``own`` where the data set has none.
    """
    if name == "own" and own:
        return Protocol("zero-shot/own-prompts-v1", tuple(template.replace("{c}", "{}") for template in own))
    if name == "own":
        raise ValueError(f"protocol 'own': the data set brings no prompts along; choose one of {', '.join(protocols())}")
    if name not in protocols():
        known = (*protocols(), "own")
        raise ValueError(f"protocol {name!r} is unknown{did_you_mean(name, known)}; choose one of {', '.join(known)}")
    return protocols()[name]


def prompts(protocol: Protocol, names: Sequence[str]) -> list[list[str]]:
    """All prompts of each class."""
    templates: Iterable[str] = protocol.templates
    if protocol.canonical:
        templates = [canonical(template, keep="{}") for template in templates]
        names = [canonical(name, keep=",").split(",")[0] for name in names]
    return [[template.replace("{}", name) for template in templates] for name in names]


def canonical(text: str, *, keep: str) -> str:
    """Lower case, no punctuation but ``keep``, underscores and runs of white space as one space."""
    parts = text.replace("_", " ").split(keep)
    return " ".join(keep.join(part.translate(_PUNCTUATION) for part in parts).lower().split())


def prompt_names(classes: Sequence[str]) -> list[str]:
    """Names of classes; where they are WordNet ids, as ImageNet's folders are, OpenAI's names of these classes.

    Raises ``ValueError`` for ids that are not among the 1,000 of ILSVRC 2012.
    """
    if not all(re.fullmatch(r"n\d{8}", name) for name in classes):
        return list(classes)
    known = imagenet()
    if unknown := [name for name in classes if name not in known]:
        raise ValueError(
            f"{len(unknown)} of {len(classes)} WordNet ids have no name here ({', '.join(unknown[:3])}): only the 1,000 classes of "
            "ILSVRC 2012 do; name the classes by ZeroShot.class_names, in the order of their ids"
        )
    return [known[name] for name in classes]


@cache
def imagenet() -> dict[str, str]:
    """WordNet id -> OpenAI's name of the 1,000 classes, in the order of their labels."""
    rows = (line.partition("\t") for line in _lines("imagenet_classes.tsv"))
    return {identity: name for identity, _, name in rows}


def _lines(name: str) -> list[str]:
    return [line for line in (_FOLDER / name).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]


Encode = Callable[[Sequence[str]], Float[Tensor, "texts embed"]]
TEXTS = 256
"""About so many prompts are encoded at once."""


@torch.no_grad()
def classifier(encode: Encode, prompts: Sequence[Sequence[str]]) -> Float[Tensor, "classes embed"]:
    """A unit vector of each class: the mean of its prompts' unit vectors. Classes have equally many prompts, in order."""
    each = len(prompts[0])
    count = max(1, TEXTS // each)
    parts = []
    for start in range(0, len(prompts), count):
        texts = [text for own in prompts[start : start + count] for text in own]
        parts.append(normalize(encode(texts).float(), dim=-1).unflatten(0, (-1, each)).mean(1))
    return normalize(torch.cat(parts), dim=-1)


def class_ranks(
    image: Float[Tensor, "images embed"], weights: Float[Tensor, "classes embed"], labels: Int[Tensor, " images"]
) -> Int[Tensor, " images"]:
    """Rank, from 1, of each image's true class.

    Of equal scores the class with the smaller label ranks first, as in argmax: ImageNet has two classes called ``missile`` and two
    called ``sunglasses``. NaN ranks before the truth.
    """
    scores = image @ weights.T
    truth = scores.gather(1, labels[:, None])
    earlier = torch.arange(len(weights), device=labels.device) < labels[:, None]
    other = torch.arange(len(weights), device=labels.device) != labels[:, None]
    return (other & (~(scores <= truth) | (earlier & (scores == truth)))).sum(1) + 1


def best_ranks(
    image: Float[Tensor, "images embed"], weights: Float[Tensor, "classes embed"], labels: Sequence[Sequence[int]]
) -> Int[Tensor, " images"]:
    """Rank of the true class that ranks first, where an image has one or several (ReaL: the answer may be any of them)."""
    counts = torch.tensor([len(own) for own in labels], device=image.device)
    flat = torch.tensor([label for own in labels for label in own], device=image.device)
    each = class_ranks(image.repeat_interleave(counts, dim=0), weights, flat)
    return torch.stack([ranks.min() for ranks in each.split(counts.tolist())])


class Accuracy(NamedTuple):
    """Shares of images whose true class is the first, or among the first five; ``balanced``: top-1, mean over classes, NaN where
    images have several."""

    top1: float
    top5: float
    balanced: float


def accuracy(ranks: Int[Tensor, " images"], labels: Int[Tensor, " images"] | None) -> Accuracy:
    """Accuracies out of ranks; classes without an image do not count. Without ``labels``, images have several."""
    first, fifth = (ranks == 1).double(), float((ranks <= 5).double().mean())
    if labels is None:
        return Accuracy(float(first.mean()), fifth, float("nan"))
    per_class = [first[labels == label].mean() for label in labels.unique()]
    return Accuracy(float(first.mean()), fifth, float(torch.stack(per_class).mean()))
