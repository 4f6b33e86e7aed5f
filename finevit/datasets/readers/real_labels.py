"""ReaL: all true classes of each image of ImageNet's validation set (Beyer et al., "Are we done with ImageNet?", 2020)."""

import re
from collections.abc import Sequence
from pathlib import Path

from .files import Skipped
from .fixed import Entry, load_json

REAL = "real-labels-v1"
"""What protocols are called with these labels."""
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})")


def labelled(images: Sequence[str], path: Path, classes: int, skipped: Skipped) -> tuple[list[Entry], str]:
    """The entries of the images that ``real.json`` gives classes, in its order, and what the set is.

    The file holds a list of classes for each image of the validation set. Images without a class are left out, as the protocol
    says; those that are not there, or whose names do not say which they are, are told to ``skipped``.
    """
    truths = _load(path, classes)
    numbers = {image: int(match[1]) for image in images if (match := _NAME.match(image.rpartition("/")[2]))}
    found = dict[int, str]()
    for image, number in numbers.items():
        if number > len(truths):
            skipped.add(f"{image}: {path.name} ends at image {len(truths):,}; fetch it again")
        elif number and found.setdefault(number, image) != image:
            skipped.add(f"{image} is there already, as {found[number]}; an image counts once")
    if strangers := [image for image in images if not numbers.get(image)]:
        skipped.add(f"{len(strangers):,} images are not called ILSVRC2012_val_ and their number ({strangers[0]})", len(strangers))
    wanted = [number for number, labels in enumerate(truths, start=1) if labels]
    if missing := [number for number in wanted if number not in found]:
        skipped.add(f"{len(missing):,} images with labels are missing (ILSVRC2012_val_{missing[0]:08d})", len(missing))
    entries = [Entry(found[number], found[number], facts={"label": truths[number - 1]}) for number in wanted if number in found]
    without = sum(number in found for number in range(1, len(truths) + 1)) - len(entries)
    return entries, f"ReaL labels of {path.name}, {classes:,} classes; {without:,} images without a true class do not count"


def _load(path: Path, classes: int) -> list[tuple[int, ...]]:
    content = load_json(path)
    if not isinstance(content, list) or not all(isinstance(labels, list) for labels in content):
        raise ValueError(f"real={str(path)!r} is not ReaL's file: looked for a list of lists of classes; fetch real.json again")
    wrong = [label for labels in content for label in labels if type(label) is not int or not 0 <= label < classes]
    if wrong:
        raise ValueError(f"real={str(path)!r}: {wrong[0]!r} is none of ImageNet's {classes:,} classes; fetch real.json again")
    return [tuple(dict.fromkeys(labels)) for labels in content]
