"""Classification sets as one folder of images a class: ImageNet and its relatives (zero-shot protocols of the evaluation)."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from finevit.evaluation.zero_shot import imagenet
from finevit.registry import BENCHMARKS, DATASETS

from .files import IMAGE_SUFFIXES, Skipped, existing, head
from .fixed import Entry, FixedSet, listed, load_json
from .unread import Unread, ending_of

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


_REMEDY = (
    "put the images of each class into a folder of its own, named by its WordNet id (n01440764) or its name; "
    "torchvision.datasets.ImageNet(root, split='val') does so from the original archives"
)
_WORDNET, _NUMBER = re.compile(r"n[0-9]{8}"), re.compile("[0-9]+")
"""Folders that are classes even where they hold no image."""


class Images(NamedTuple):
    """Paths below the root of the set, sorted: ``read``; ``lost``, of formats that are not read; ``deeper``, where none is looked
    for. ``closed`` says why a folder cannot be read."""

    read: list[str]
    lost: list[str]
    deeper: list[str]
    closed: str = ""


@BENCHMARKS.register_module(name="imagenet")
@DATASETS.register_module()
class ImageNetFolder(FixedSet):
    """Images in one folder a class; ``facts["label"]`` is the place of the folder's name among all of them, sorted.

    ``classes`` are the folders' names: WordNet ids for ImageNet, ImageNet-A or -R, any names for other sets. Folders that are
    numbers, as ImageNet-V2's (``0`` to ``999``), are ImageNet's classes of these labels. The images of a class may also lie in its
    folder ``images`` (Tiny-ImageNet). A folder without images is no class, unless its WordNet id or number says that it should be,
    or its images are of formats that are not read: then the set is incomplete.

    Args:
        data_root: the folder of the classes' folders, or one with ``split`` in it.
        split: the subfolder to look for.
        real: ``real.json`` of ReaL: ``facts["label"]`` are then all true classes of an image, and images without any are left
            out. They are known by their original names (``ILSVRC2012_val_00000001.JPEG``), in any folders or none.
    """

    task = "classification"

    def __init__(self, *, data_root: str | Path, split: str = "val", real: str | Path | None = None) -> None:
        given, root, skipped, unread = str(data_root), existing(data_root), Skipped(), Unread()
        root = root / split if (root / split).is_dir() else root
        folders = {path.name: _within(path, root, unread) for path in _visible(root) if path.is_dir()}
        flat = _images(root, root, unread)
        if real is None:
            self.labels, kept = "", _kept(folders, flat, root, given)
            names, self.classes, about = _classes(list(kept))
            entries = [Entry(image, image, facts={"label": label}) for label, name in enumerate(names) for image in kept[name].read]
            _tell(folders, kept, flat, skipped)
            _tell_files(root, skipped)
        else:
            self.labels, self.classes = REAL, tuple(imagenet())
            images = [image for found in (flat, *folders.values()) for image in found.read]
            entries, about = labelled(images, existing(real, setting="real"), len(self.classes), skipped)
        about = f"{root.name}, {about}"
        super().__init__(origin=root, image_root=root, setting="data_root", entries=entries, about=about, skipped=skipped)


def _kept(folders: Mapping[str, Images], flat: Images, root: Path, given: str) -> dict[str, Images]:
    """The folders that are classes; ``ValueError`` where there are none to tell apart."""
    full = {name for name, images in folders.items() if images.read or images.lost or images.closed}
    classes = _NUMBER if all(map(_NUMBER.fullmatch, full)) else _WORDNET
    kept = {name: images for name, images in folders.items() if name in full or classes.fullmatch(name)}
    if sum(bool(images.read) for images in kept.values()) < 2:
        there = f"{len(flat.read):,} images in one folder, without their classes" if flat.read else listed(root)
        lost = next((f"; {images.lost[0]} is of a format that is not read" for images in kept.values() if images.lost), "")
        lost += next((f"; {name} cannot be read ({images.closed})" for name, images in kept.items() if images.closed), "")
        alone = next((f"images of one class alone, {name!r}; two are the least" for name in kept if kept[name].read), there)
        raise ValueError(f"data_root={given!r}: {root} holds {there if flat.read else alone}{lost}; {_REMEDY}")
    return kept


def _classes(names: list[str]) -> tuple[list[str], tuple[str, ...], str]:
    """The folders' names in the order of their labels, the classes that they mean, and what to say of them."""
    count, known = f"{len(names):,}", list(imagenet())
    if not all(map(_NUMBER.fullmatch, names)):
        mixed = sum(bool(_NUMBER.fullmatch(name)) for name in names)
        told = f", of which {mixed:,} are called by numbers, and no labels of ImageNet beside folders with names" if mixed else ""
        return names, tuple(names), f"{count} classes{told}"
    names = sorted(names, key=int)
    numbers = [int(name) for name in names]
    if numbers[-1] >= len(known) or len(set(numbers)) < len(numbers):
        return names, tuple(names), f"{count} classes that have numbers for names, which are no labels of ImageNet"
    return names, tuple(known[number] for number in numbers), f"{count} of ImageNet's {len(known):,} classes, by their labels"


def _tell(folders: Mapping[str, Images], kept: Mapping[str, Images], flat: Images, skipped: Skipped) -> None:
    """Note what is left out of classes, beside and below them."""
    for name, (read, lost, deeper, closed) in folders.items():
        if closed:
            skipped.add(f"{name}: its folder cannot be read ({closed}), how many images it holds is unknown; check its permissions")
            continue
        if deeper:
            skipped.add(f"{name}: {len(deeper):,} images lie in folders within it ({deeper[0]}); move them up", len(deeper))
        elif name not in kept and name != "__MACOSX":
            skipped.note(f"{name}/, which holds no image and is no class")
        if lost:
            share = f"{len(lost):,} of its {len(read) + len(lost):,} images are" if read else f"all of its {len(lost):,} images are"
            skipped.add(f"{name}: {share} of a format that is not read ({lost[0]}); convert them to .jpg or .png", len(lost))
        elif name in kept and not read and not deeper:
            skipped.add(f"{name}: its folder holds no image")
    if beside := [*flat.read, *flat.lost]:
        skipped.add(f"{len(beside):,} images beside the folders have no class ({beside[0]})", len(beside))


def _tell_files(root: Path, skipped: Skipped) -> None:
    """Note files and dead links where a class should have its folder."""
    for path in _visible(root):
        if path.is_symlink() and not path.exists():
            skipped.add(f"{path.name}: is a link to {path.readlink()}, which is not there")
        elif path.is_file() and _WORDNET.match(path.name) and path.suffix.lower() not in IMAGE_SUFFIXES:
            skipped.add(f"{path.name}: is a file, where a class has its folder; unpack it")


def _within(folder: Path, root: Path, unread: Unread) -> Images:
    """The images of a class, in its folder or in ``images`` there."""
    try:
        return _open(folder, root, unread)
    except OSError as error:
        return Images([], [], [], closed=str(error.strerror))


def _open(folder: Path, root: Path, unread: Unread) -> Images:
    own = _images(folder, root, unread)
    inner = {path.name: _images(path, root, unread) for path in _visible(folder) if path.is_dir()}
    found = own if own.read or own.lost else inner.pop("images", own)
    return found._replace(deeper=[image for images in inner.values() for image in images.read])


def _images(folder: Path, root: Path, unread: Unread) -> Images:
    paths = [path for path in _visible(folder) if not path.is_dir()] if folder.is_dir() else []
    read = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    others = [path for path in paths if path.suffix.lower() not in IMAGE_SUFFIXES]
    lost = [path for path in others if unread.meet(path.name, ending_of(path.name), partial(head, path))]
    return Images([path.relative_to(root).as_posix() for path in read], [path.relative_to(root).as_posix() for path in lost], [])


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[0] != ".")
