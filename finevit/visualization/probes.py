"""The page of a frozen encoder's probes: what they reached, and its patch features as colours."""

import colorsys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from finevit.contracts import Source
from finevit.datasets.decoding.images import decode
from finevit.evaluation.probes.features import Image
from finevit.evaluation.probes.run import PROTOCOLS, SHOWN, Evaluated
from finevit.visualization import gallery
from finevit.visualization.gallery import Column, jpeg, png
from finevit.visualization.pca import colour_basis
from finevit.visualization.report import Figure, Page, Section, fragment

SIDE, CROP = 320, 160
"""Longer side of an image, and of a region, on the page, in pixels."""


class Hit(NamedTuple):
    """A region as a picture (data URI), its class, and for one that was found its cosine and whether it is of the query's class."""

    picture: str
    name: str
    score: float = 0.0
    true: bool = False


class RegionQuery(NamedTuple):
    """A region that was searched for, the rank of the first of its class, and what is nearest."""

    picture: str
    name: str
    rank: int
    hits: list[Hit]


def maps(found: Evaluated, before: Evaluated | None) -> list[Section]:
    """True and predicted segments of the first test images."""
    shown = [image for image in found.test if image.label_map is not None][:SHOWN]
    if not found.segment or not shown:
        return []
    truths = [image.label_map for image in shown if image.label_map is not None]
    answers = {"trained": [found.segment(image) for image in shown]}
    if before and before.segment:
        answers = {"untrained": list(map(before.segment, [i for i in before.test if i.label_map is not None][:SHOWN])), **answers}
    seen = sorted(
        {int(value) for part in (*truths, *(each for said in answers.values() for each in said)) for value in part.unique()}
    )
    pictures = [jpeg(picture(found.data.test, image), side=SIDE) for image in shown]
    columns = [
        Column("image", "never learned from", pictures, pixelated=False),
        Column("true", "label map", _painted(truths, found)),
    ]
    columns += [Column(name, "linear head on frozen patches", _painted(said, found)) for name, said in answers.items()]
    rows = list(zip(*(column.pictures for column in columns), strict=True))
    first = int(found.data.background)
    legend = [(_name(value, found), "rgb({} {} {})".format(*_colour(value - first))) for value in seen]
    return [Section("How it segments", fragment("probe_maps.html", columns=columns, rows=rows, legend=legend))]


def neighbours(found: Evaluated) -> list[Section]:
    """Regions with those nearest to them in other images: failures first."""
    if found.retrieval is None or found.regions is None:
        return []
    rank, images = found.retrieval.rank.cpu(), found.regions.image.cpu()
    asked = [int((images == image).logical_and(rank > 0).nonzero()[0]) for image in images[rank > 0].unique()][:SHOWN]
    queries = [_query(found, index) for index in sorted(asked, key=lambda index: -int(rank[index]))]
    note = f"Regions of {len(found.test):,} test images, searched among those of all other images by cosine similarity."
    return [Section("What regions find", fragment("probe_regions.html", queries=queries), note)]


def picture(source: Source, image: Image) -> np.ndarray:
    """The pixels of an image, read again from its source."""
    record = source[image.row]
    return decode(record.image, name=record.id) if isinstance(record.image, bytes) else record.image


def _query(found: Evaluated, index: int) -> RegionQuery:
    assert found.retrieval is not None, "only what was searched is shown"
    nearest, scores = found.retrieval.nearest[index].tolist(), found.retrieval.scores[index].tolist()
    hits = [_hit(found, other, score, index) for other, score in zip(nearest, scores, strict=True) if score > -1.5]
    return RegionQuery(*_hit(found, index, 0.0, index)[:2], int(found.retrieval.rank[index]), hits)


def _hit(found: Evaluated, index: int, score: float, query: int) -> Hit:
    assert found.regions is not None, "only regions are shown"
    labels, box = found.regions.labels, found.regions.boxes[index].tolist()
    pixels = picture(found.data.test, found.test[int(found.regions.image[index])])
    height, width = pixels.shape[:2]
    left, top, right, bottom = (round(value * length) for value, length in zip(box, (width, height) * 2, strict=True))
    part = np.ascontiguousarray(pixels[top : max(bottom, top + 1), left : max(right, left + 1)])
    name = found.data.classes[int(labels[index])]
    return Hit(jpeg(part, side=CROP), name, score, bool(labels[index] == labels[query]))


def _painted(label_maps: Sequence[Tensor], found: Evaluated) -> list[str]:
    first = int(found.data.background)
    colours = torch.tensor([_colour(label - first) for label in range(-1, 1 + max(int(part.max()) for part in label_maps))])
    return [png(colours[part.long() + 1] / 255) for part in label_maps]


def _colour(place: int) -> tuple[int, int, int]:
    """A colour of a class, far from those of the classes before it; greys for the background and for what does not count."""
    if place < 0:
        return (58, 63, 74) if place == -1 else (128, 128, 128)
    hue, light = place * 0.618034 % 1, (0.5, 0.68, 0.4)[place % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, light, 0.65)
    return round(red * 255), round(green * 255), round(blue * 255)


def _name(label: int, found: Evaluated) -> str:
    names = (*(["background"] if found.data.background else []), *found.data.classes)
    return "does not count" if label < 0 else names[label] if label < len(names) else f"class {label + 1}"


NAMES = {
    "linear": ("Linear", {"top1": "top 1", "balanced": "top 1, mean over classes"}),
    "knn": ("k-NN", {"top1": "top 1", "balanced": "top 1, mean over classes"}),
    "attentive": ("Attentive", {"top1": "top 1", "balanced": "top 1, mean over classes"}),
    "segmentation": ("Segmentation", {"miou": "mIoU", "class_accuracy": "class accuracy", "pixel_accuracy": "pixel accuracy"}),
    "regions": ("Regions", {"r1": "R@1", "map": "mAP", "knn_top1": "k-NN, top 1"}),
}
"""What the page tells of each probe: the first measure is the headline."""


class Row(NamedTuple):
    """A line of the table of results."""

    probe: str
    measure: str
    value: str
    untrained: str
    chosen: str


def page(
    found: Sequence[Evaluated], before: Sequence[Evaluated | None], *, facts: Sequence[tuple[str, str]], foreground: bool = False
) -> Page:
    """The page; ``before`` are the same probes of the untrained encoder, where they were asked for."""
    pairs = list(zip(found, before, strict=True))
    return Page(
        title="FineViT, probes",
        subtitle="What can be read out of the frozen encoder's features, on images that no probe has learned from.",
        figures=[figure for pair in pairs for figure in figures(*pair)],
        sections=[
            table(pairs),
            *(section for pair in pairs[:1] for section in patches(*pair, foreground=foreground)),
            *(section for pair in pairs for section in (*maps(*pair), *neighbours(pair[0]))),
        ],
        facts=facts,
        footnotes=[f"{NAMES[probe][0]}: {PROTOCOLS[probe]}" for each in found for probe in each.outcomes],
    )


def figures(found: Evaluated, before: Evaluated | None) -> list[Figure]:
    """The headline of each probe, next to that of the untrained encoder."""
    drawn = []
    for probe, outcome in found.outcomes.items():
        label, measures = NAMES[probe]
        key, told = next(iter(measures.items()))
        was = f"; untrained {before.outcomes[probe].metrics[key]:.1%}" if before else ""
        drawn.append(Figure(label, f"{outcome.metrics[key]:.1%}", f"{told}{was}"))
    return drawn


def table(pairs: Sequence[tuple[Evaluated, Evaluated | None]]) -> Section:
    """Every measure with the setting that was chosen."""
    rows = [row for pair in pairs for row in _rows(*pair)]
    html = fragment("probe_table.html", rows=rows, untrained=any(before for _, before in pairs))
    counts = "; ".join(f"{len(each.train):,} images to learn from, {len(each.test):,} to test on" for each, _ in pairs)
    return Section("What was reached", html, f"{counts}. Settings are chosen on a tenth of the former, never on the latter.")


def patches(found: Evaluated, before: Evaluated | None, *, foreground: bool) -> list[Section]:
    """Images beside their patch tokens as colours."""
    shown = found.test[:SHOWN]
    pictures = [jpeg(picture(found.data.test, image), side=SIDE) for image in shown]
    columns = [Column("image", "never learned from", pictures, pixelated=False)]
    if before:
        columns.append(Column("untrained", "patch tokens as colours", _coloured(before.test[:SHOWN], foreground)))
    columns.append(Column("trained", "patch tokens as colours", _coloured(shown, foreground)))
    note = "The three directions in which the patch tokens of all these images vary most are red, green and blue."
    kept = " Black: what the first direction of all patches tells apart from the foreground." if foreground else ""
    return gallery.sections("What the patches look like", columns, template="strips.html", note=note + kept)


def foreground_of(tokens: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """``[patches]`` bool: which side of the first direction of variation is foreground: that with less of the images' borders."""
    values = tokens.float() - tokens.float().mean(0)
    first = torch.linalg.svd(values, full_matrices=False).Vh[0]
    side = values @ first > 0
    border = torch.cat([_border(shape) for shape in shapes])
    return side if side[border].float().mean() < 0.5 else ~side


def _border(shape: tuple[int, int]) -> Tensor:
    inner = torch.ones(shape, dtype=torch.bool)
    inner[1:-1, 1:-1] = False
    return inner.flatten()


def _coloured(images: Sequence[Image], foreground: bool) -> list[str]:
    tokens, shapes = [image.tokens.float() for image in images], [image.shape for image in images]
    if not foreground:
        return gallery.coloured(tokens, shapes)
    every = torch.cat(tokens)
    front = foreground_of(every, shapes)
    colours = colour_basis(every[front]).colours(every) * front[:, None]
    parts = colours.split([len(part) for part in tokens])
    return [png(part.unflatten(0, shape)) for part, shape in zip(parts, shapes, strict=True)]


def _rows(found: Evaluated, before: Evaluated | None) -> Iterator[Row]:
    for probe, outcome in found.outcomes.items():
        label, measures = NAMES[probe]
        chosen = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in outcome.chosen.items())
        for key, told in measures.items():
            was = f"{before.outcomes[probe].metrics[key]:.1%}" if before else ""
            yield Row(label, told, f"{outcome.metrics[key]:.1%}", was, chosen)
