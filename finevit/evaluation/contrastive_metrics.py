"""MMEngine metrics of Stage II; the arithmetic is in ``finevit.evaluation.retrieval`` and ``finevit.evaluation.zero_shot``."""

import logging
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from annotated_types import MinLen
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from finevit.evaluation.metrics import different
from finevit.evaluation.retrieval import DEPTHS, RETRIEVAL_PROTOCOL, by_length, count_words, distribution, ranks, recalls
from finevit.evaluation.zero_shot import Encode, accuracy, best_ranks, classifier, find_protocol, prompt_names, prompts
from finevit.registry import METRICS


class Pairs(NamedTuple):
    """All images and captions of an evaluation: ``image [images, embed]``, ``text [texts, embed]``, and ``owner [texts]``: which
    image each caption belongs to. ``captions`` are empty where the predictions carry none."""

    ids: list[str]
    captions: list[str]
    image: Tensor
    text: Tensor
    owner: Tensor


@METRICS.register_module()
class Retrieval(BaseMetric):
    """Retrieval among all images and all captions of the set, both ways, and how it depends on the captions' length.

    Keys: ``i2t_r1``, ``t2i_r1``, ``r1`` (their mean), the same for 5 and 10; ``truncated`` (share of captions whose end the model
    did not see); ``words_min``, ``_median``, ``_mean``, ``_max``; and ``r1_words_60-90`` for each quarter of the captions, here
    those of 60 to 90 words: the mean of both ways over captions, where image -> text is that of the caption's image. Where there
    are no more than ten images, ``chance_r1``, ``_r5`` and ``_r10`` are what text -> image gives without a model, and it is said.

    Reads ``id``, ``image`` and ``texts`` of each prediction, and where they are there, ``captions_list`` or ``caption``, and
    ``truncated``. Images that come twice count once. Afterwards ``latest`` holds what was compared (:class:`Pairs`, on the CPU of
    the main process), for pages.
    """

    default_prefix = "stage2"
    protocol = RETRIEVAL_PROTOCOL

    def __init__(self, *, collect_device: str = "cpu") -> None:
        super().__init__(collect_device)
        self.latest: Pairs | None = None

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            caption, truncated = sample.get("caption"), sample.get("truncated", [])
            self.results.append(
                {
                    "id": sample["id"],
                    "image": sample["image"].float().cpu(),
                    "texts": sample["texts"].float().cpu(),
                    "captions": sample.get("captions_list", [] if caption is None else [caption]),
                    "truncated": [truncated] if isinstance(truncated, bool) else truncated,
                }
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        samples = different(results)
        if not samples:
            return {}
        pairs = self.latest = _pairs(samples)
        image, text, owner = (tensor.to(get_device()) for tensor in (pairs.image, pairs.text, pairs.owner))
        order = torch.arange(len(image), device=owner.device)
        to_text, to_image = ranks(image, text, order, owner).cpu(), ranks(text, image, owner, order).cpu()
        found = ((to_image == 1).double() + (to_text == 1)[pairs.owner].double()) / 2
        truncated = [each for sample in samples for each in sample["truncated"]]
        return {
            **recalls(to_text, to_image),
            **_by_chance(len(image), len(text)),
            **({"truncated": sum(truncated) / len(truncated)} if truncated else {}),
            **(_lengths(pairs.captions, found) if pairs.captions else {}),
        }


@METRICS.register_module()
class ZeroShot(BaseMetric):
    """Zero-shot classification. It needs the hook ``ZeroShotHook``, which encodes the prompts with the current weights.

    Keys for each protocol, such as ``openai80``: ``openai80_top1``, ``openai80_top5`` (where there are more than five classes) and
    ``openai80_balanced`` (top-1, mean over classes). Reads ``id``, ``image`` and ``label`` of each prediction: the transform
    ``Label`` and the collate function's key ``label`` bring it there. Images that come twice count once. Where labels are lists of
    several true classes, any of them is right, and there is no ``_balanced``.

    Args:
        protocols: names out of :func:`finevit.evaluation.zero_shot.protocols`; ``own`` are the prompts that come with the data set.
        class_names: names of the classes in the order of their labels; None takes the data set's.
        collect_device: ``cpu`` or ``gpu``, as for every MMEngine metric.
    """

    default_prefix = "stage2"

    def __init__(
        self,
        *,
        protocols: Annotated[Sequence[str], MinLen(1), "a list of names, such as ['openai80']"] = (
            "openai80",
            "siglip81-canonical",
        ),
        class_names: Sequence[str] | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(collect_device)
        self.protocols, self.class_names = tuple(protocols), class_names
        self.protocol = ", ".join(find_protocol(name, own=("{c}",)).id for name in self.protocols)
        self._classifiers: dict[str, Tensor] = {}

    def prepare(self, encode: Encode, classes: Sequence[str], templates: Sequence[str] = (), labels: str = "") -> None:
        """Makes the classifiers of an evaluation out of the data set's classes and, for ``own``, its templates; ``labels`` is the
        name of labels that are not the set's usual ones, for the protocol."""
        names = prompt_names(self.class_names or classes)
        if len(classes) and len(names) != len(classes):
            raise ValueError(f"ZeroShot.class_names: {len(names)} names for the {len(classes)} classes of the data set")
        if not names:
            raise ValueError("ZeroShot: the data set names no classes; evaluate on one that does, or give ZeroShot.class_names")
        if len(names) == 1:
            said = f"ZeroShot: there is one class, {names[0]!r}: top-1 is 1 whatever the model has learned"
            print_log(f"{said}; evaluate on data of more classes", logger="current", level=logging.WARNING)
        chosen = {name: find_protocol(name, templates) for name in self.protocols}
        self.protocol = ", ".join(protocol.id + (f"/{labels}" if labels else "") for protocol in chosen.values())
        self._classifiers = {name: classifier(encode, prompts(protocol, names)) for name, protocol in chosen.items()}

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        if not self._classifiers:
            raise RuntimeError("ZeroShot has no classifier: add dict(type='ZeroShotHook') to custom_hooks")
        image = torch.stack([sample["image"] for sample in data_samples]).float()
        labels = [_labels(sample["label"]) for sample in data_samples]
        classes = len(next(iter(self._classifiers.values())))
        for sample, own in zip(data_samples, labels, strict=True):
            if not own or not 0 <= min(own) <= max(own) < classes:
                raise ValueError(f"{sample['id']}: label {sample['label']} is not one of the {classes} classes")
        places = {name: best_ranks(image, weights, labels).tolist() for name, weights in self._classifiers.items()}
        for i, sample in enumerate(data_samples):
            self.results.append({"id": sample["id"], "label": sample["label"], **{name: places[name][i] for name in places}})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        samples = different(results)
        if not samples:
            return {}
        several = any(isinstance(sample["label"], Sequence) for sample in samples)
        labels = None if several else torch.tensor([int(sample["label"]) for sample in samples])
        values: dict[str, float] = {}
        for name, weights in self._classifiers.items():
            told = {"top1", *(["top5"] if len(weights) > 5 else []), *([] if several else ["balanced"])}
            score = accuracy(torch.tensor([sample[name] for sample in samples]), labels)._asdict()
            values |= {f"{name}_{key}": value for key, value in score.items() if key in told}
        return values


def _by_chance(images: int, texts: int) -> dict[str, float]:
    """What text -> image gives by chance, and a warning, where that is the whole of some score; else nothing."""
    if images > DEPTHS[-1]:
        return {}
    chances = {k: min(1.0, k / images) for k in DEPTHS}
    certain = ", ".join(f"R@{k}" for k, chance in chances.items() if chance == 1)
    said = f"Retrieval: {images} images, {texts} captions: text -> image, {certain} is 1 whatever the model has learned"
    print_log(f"{said}, R@1 is {chances[1]:.2f} by chance; evaluate on more", logger="current", level=logging.WARNING)
    return {f"chance_r{k}": chance for k, chance in chances.items()}


def _labels(label: int | Sequence[int]) -> tuple[int, ...]:
    """The true classes of an image, of which there may be several."""
    return tuple(label) if isinstance(label, Sequence) else (int(label),)


def _pairs(samples: Sequence[dict]) -> Pairs:
    counts = torch.tensor([len(sample["texts"]) for sample in samples])
    return Pairs(
        ids=[sample["id"] for sample in samples],
        captions=[caption for sample in samples for caption in sample["captions"]],
        image=torch.stack([sample["image"] for sample in samples]),
        text=torch.cat([sample["texts"] for sample in samples]),
        owner=torch.arange(len(samples)).repeat_interleave(counts),
    )


def _lengths(captions: Sequence[str], found: Tensor) -> dict[str, float]:
    words = count_words(captions)
    groups = {f"r1_words_{group.shortest}-{group.longest}": group.r1 for group in by_length(words, found)}
    return {**{f"words_{name}": value for name, value in distribution(words).items()}, **groups}
