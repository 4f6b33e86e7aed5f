"""All probes of one set of data: features once, then what each probe learns from them and reaches."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.device import get_device
from torch import Tensor

from finevit.contracts import Source
from finevit.evaluation.probes.attentive import ATTENTIVE_PROTOCOL, probe_attentive
from finevit.evaluation.probes.choice import HELD_OUT, Outcome
from finevit.evaluation.probes.data import ProbeData
from finevit.evaluation.probes.features import Encoder, Image, ProbeImages, extract, precision, rows_of
from finevit.evaluation.probes.knn import KNN_PROTOCOL, probe_knn
from finevit.evaluation.probes.linear import LINEAR_PROTOCOL, features, probe_linear
from finevit.evaluation.probes.regions import REGIONS_PROTOCOL, Regions, Retrieval, gather, hold_out_images, retrieve
from finevit.evaluation.probes.segmentation import SEGMENTATION_PROTOCOL, Labelled, probe_segmentation
from finevit.evaluation.results import Results

PROTOCOLS = {
    "linear": LINEAR_PROTOCOL,
    "knn": KNN_PROTOCOL,
    "attentive": ATTENTIVE_PROTOCOL,
    "segmentation": SEGMENTATION_PROTOCOL,
    "regions": REGIONS_PROTOCOL,
}
DENSE = {"attentive", "segmentation", "regions"}
"""Probes that read patch tokens, not vectors of whole images alone."""
SHOWN = 8
"""Images of the page, whose patch tokens are always kept."""


class Evaluated(NamedTuple):
    """What came out on some data; ``segment`` and ``retrieval`` are there where these probes ran. ``lacking``: what is left out."""

    data: ProbeData
    train: list[Image]
    test: list[Image]
    outcomes: dict[str, Outcome]
    lacking: str = ""
    segment: Callable[[Image], Tensor] | None = None
    regions: Regions | None = None
    retrieval: Retrieval | None = None


class Setting(NamedTuple):
    """At most so many images of ``train`` and ``test`` (None: all), ``batch`` at a time, read by so many ``workers``; the ``seed``
    of every choice."""

    train: int | None
    test: int | None
    batch: int
    workers: int
    seed: int


def check(setting: Setting) -> None:
    """``ValueError`` for what nothing can be learned from."""
    if min(number for number in (setting.train, setting.test, 2) if number is not None) < 2:
        raise ValueError(f"--images {setting.train} {setting.test}: give at least 2 training and 2 test images")


def evaluate(encoder: Encoder, data: ProbeData, setting: Setting) -> Evaluated:
    """Extracts the features of both sets and runs the data's probes on them."""
    train, bad = _features("train", data.train, setting.train, encoder, data, setting)
    test, worse = _features("test", data.test, setting.test, encoder, data, setting)
    for message in (skipped := [*bad, *worse]):
        print(f"left out: {message}", file=sys.stderr)
    lacking = f"; INCOMPLETE: {len(skipped):,} unusable images left out" if skipped else ""
    found = Evaluated(data, train, test, {}, lacking)
    for probe in data.probes:
        started = time.perf_counter()
        found = _PROBES[probe](found, setting.seed, torch.device(get_device()))
        print(f"{probe}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
        if end := found.outcomes[probe].chosen.get("grid_edge"):
            print(
                f"{probe}: the best setting lies at the edge of its grid ({end}); beyond it may lie a better one", file=sys.stderr
            )
    return found


def _features(
    title: str, source: Source, most: int | None, encoder: Encoder, data: ProbeData, setting: Setting
) -> tuple[list[Image], list[str]]:
    """The features of a set, and what is wrong with the images that have none."""
    images = ProbeImages(
        source=source,
        rows=rows_of(source, most, seed=setting.seed),
        pixels=encoder.pixels,
        patch=encoder.patch,
        maps="segmentation" in data.probes,
        background=data.background,
    )
    keep = None if DENSE.intersection(data.probes) else SHOWN
    return extract(encoder, images, batch=setting.batch, workers=setting.workers, title=title, keep=keep)


def _linear(found: Evaluated, seed: int, device: torch.device) -> Evaluated:
    (train, train_y), (test, test_y) = (_labelled(images, "linear", device) for images in (found.train, found.test))
    x, test_x = ({name: value.to(device) for name, value in _vectors(images).items()} for images in (train, test))
    return _with(found, linear=probe_linear(x, train_y, test_x, test_y, classes=len(found.data.classes), seed=seed))


def _knn(found: Evaluated, seed: int, device: torch.device) -> Evaluated:
    (train, train_y), (test, test_y) = (_labelled(images, "knn", device) for images in (found.train, found.test))
    x, test_x = (torch.stack([image.pooled for image in images]).to(device) for images in (train, test))
    return _with(found, knn=probe_knn(x, train_y, test_x, test_y, classes=len(found.data.classes), seed=seed))


def _attentive(found: Evaluated, seed: int, device: torch.device) -> Evaluated:
    (train, train_y), (test, test_y) = (_labelled(images, "attentive", device) for images in (found.train, found.test))
    x, test_x = ([image.tokens for image in images] for images in (train, test))
    return _with(found, attentive=probe_attentive(x, train_y, test_x, test_y, classes=len(found.data.classes), seed=seed))


def _segmentation(found: Evaluated, seed: int, device: torch.device) -> Evaluated:
    train, test = ([_map(image) for image in images if image.label_map is not None] for images in (found.train, found.test))
    _need("segmentation", "a label map", train, test)
    classes = 1 + max(int(image.labels.max()) for image in (*train, *test))
    classes = max(classes, len(found.data.classes) + found.data.background)
    outcome, segment = probe_segmentation(train, test, classes=classes, seed=seed, device=device)
    return _with(found, segmentation=outcome)._replace(segment=lambda image: segment(_map(image)))


def _regions(found: Evaluated, seed: int, device: torch.device) -> Evaluated:
    train, test = (_all_regions(images, device) for images in (found.train, found.test))
    retrieval = retrieve(test)
    parts = hold_out_images(train.image, seed=seed)
    classes = len(found.data.classes)
    named = probe_knn(train.vectors, train.labels, test.vectors, test.labels, classes=classes, seed=seed, parts=parts)
    metrics = {**retrieval.metrics, **{f"knn_{key}": value for key, value in named.metrics.items()}}
    outcome = Outcome({**metrics, "train_regions": float(len(train.labels)), "test_regions": float(len(test.labels))}, *named[1:])
    return _with(found, regions=outcome)._replace(regions=test, retrieval=retrieval)


_PROBES: dict[str, Callable[[Evaluated, int, torch.device], Evaluated]] = {
    "linear": _linear,
    "knn": _knn,
    "attentive": _attentive,
    "segmentation": _segmentation,
    "regions": _regions,
}


def _with(found: Evaluated, **outcome: Outcome) -> Evaluated:
    return found._replace(outcomes={**found.outcomes, **outcome})


def _labelled(images: Sequence[Image], probe: str, device: torch.device) -> tuple[list[Image], Tensor]:
    """The images that have a class, and their classes."""
    known = [image for image in images if image.label >= 0]
    _need(probe, "a class", known)
    return known, torch.tensor([image.label for image in known], device=device)


def _vectors(images: Sequence[Image]) -> dict[str, Tensor]:
    return features(torch.stack([image.means for image in images]), torch.stack([image.pooled for image in images]))


def _map(image: Image) -> Labelled:
    assert image.label_map is not None, "only images with a label map are segmented"
    return Labelled(image.tokens, image.shape, image.label_map)


def _all_regions(images: Sequence[Image], device: torch.device) -> Regions:
    """``image`` of a region is the place of its image in ``images``."""
    chosen = [(place, image) for place, image in enumerate(images) if image.regions]
    _need("regions", "a region with a class", chosen)
    boxes = [torch.tensor([region.box for region in image.regions]) for _, image in chosen]
    labels = [torch.tensor([region.class_id for region in image.regions]) for _, image in chosen]
    parts = zip(chosen, boxes, labels, strict=True)
    found = gather([(image.tokens, image.shape, box, label) for (_, image), box, label in parts])
    places = torch.tensor([place for place, _ in chosen])
    return Regions(*(value.to(device) for value in found._replace(image=places[found.image])))


def _need(probe: str, what: str, *sets: Sequence[object]) -> None:
    if not all(map(len, sets)):
        raise ValueError(
            f"--probes {probe}: no image of the training or of the test set has {what}; leave {probe} out, or give other data"
        )


class ProbeResults(Results):
    """Entries of ``benchmarks`` called ``probe/linear`` and so on; besides what all have: ``probe``, a dict with ``train_images``,
    ``test_images``, ``pixels``, ``precision``, ``seed``, ``held_out``, the ``chosen`` setting (with ``grid_edge`` where it lies at
    the edge of its grid), and what each that was ``tried`` reached there."""

    def add_probes(
        self, found: Evaluated, untrained: Evaluated | None, *, checkpoint: str | Path, iteration: int, seed: int, pixels: int
    ) -> list[str]:
        """Records each probe and writes the file; returns the entries' names."""
        about = (
            f"learned from {len(found.train):,} images of {found.data.train.describe()}; "
            f"tested on {len(found.test):,} of {found.data.test.describe()}{found.lacking}"
        )
        entries: dict[str, dict] = {}
        for probe, outcome in found.outcomes.items():
            before = {f"untrained_{key}": value for key, value in _metrics(untrained, probe).items()}
            entries[f"probe/{probe}"] = {
                "iteration": iteration,
                "data": {"description": about, "images": len(found.test)},
                "protocols": {probe: PROTOCOLS[probe]},
                "metrics": {**outcome.metrics, **before},
                "probe": {
                    "train_images": len(found.train),
                    "test_images": len(found.test),
                    "pixels": pixels,
                    "precision": precision(),
                    "seed": seed,
                    "held_out": HELD_OUT,
                    "chosen": outcome.chosen,
                    "tried": outcome.tried,
                },
            }
        self._add(entries, checkpoint)
        return list(entries)


def _metrics(found: Evaluated | None, probe: str) -> Mapping[str, float]:
    """What the untrained encoder reached; numbers of regions are the same for both."""
    reached = found.outcomes[probe].metrics if found else {}
    return {key: value for key, value in reached.items() if key not in ("queries", "train_regions", "test_regions")}
