"""The page of a frozen encoder's probes: what they reached, and its patch features as colours."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from finevit.evaluation.probes.features import Image
from finevit.evaluation.probes.run import PROTOCOLS, SHOWN, Evaluated
from finevit.visualization import gallery
from finevit.visualization.gallery import Column, jpeg, png
from finevit.visualization.pca import colour_basis
from finevit.visualization.probe_pictures import SIDE, maps, neighbours, picture
from finevit.visualization.report import Figure, Page, Section, fragment

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
