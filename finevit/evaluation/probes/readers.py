"""Readers of what dense probes learn from: label maps as ADE20K has them, and objects as COCO has them."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from finevit.contracts import BadSample, Record, Region
from finevit.datasets.decoding.frames import said, turn_of, turned, turned_map
from finevit.datasets.decoding.images import decode, header, opened, orientation_of
from finevit.datasets.decoding.pixels import turn
from finevit.datasets.readers.fields import field, key_of, short, value
from finevit.datasets.readers.files import IMAGE_SUFFIXES, Skipped, read
from finevit.datasets.readers.fixed import Entry, FixedSet, expecting, numbered, usable
from finevit.datasets.readers.instances import Instances

MAX_MAP = 64_000_000
"""Largest label map in pixels."""


class LabelMaps(FixedSet):
    """Images with label maps as PNG files of the same stem: 0 and 255 belong to no class, 1 is the first class, as in ADE20K."""

    def __init__(self, *, root: Path, split: str) -> None:
        self._maps = root / "annotations" / split
        folder, skipped, entries = root / "images" / split, Skipped(), list[Entry]()
        names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        for name in names:
            if (self._maps / name).with_suffix(".png").is_file():
                entries.append(Entry(name, name))
            else:
                skipped.add(f"{name}: has no {Path(name).with_suffix('.png')} in {self._maps}")
        stems = {Path(name).stem for name in names}
        for path in sorted(path for path in self._maps.glob("*.png") if path.stem not in stems):
            skipped.add(f"{path.name}: its image is not in {folder}")
        about = f"label maps of {root.name}, {split}"
        super().__init__(origin=root, image_root=folder, setting="--data", entries=entries, about=about, skipped=skipped)

    def record(self, row: int) -> Record:
        """Image and label map; ``BadSample`` where they do not fit each other."""
        record = super().record(row)
        path = (self._maps / record.id).with_suffix(".png")
        label_map = _label_map(read(path, name=record.id), record.id)
        assert isinstance(record.image, bytes)
        image = decode(record.image, name=record.id)
        if sorted(image.shape[:2]) == sorted(label_map.shape):
            label_map = _upright(label_map, record.image, record.id)
        if image.shape[:2] != label_map.shape:
            sizes = " and ".join(f"{shape[1]} x {shape[0]}" for shape in (image.shape, label_map.shape))
            raise BadSample(f"{record.id}: image and {path} are {sizes} pixels; give maps of the size of their images")
        return replace(record, image=image, label_map=label_map)


class CocoRegions(FixedSet):
    """Objects of an instances file as regions; crowds are left out, and images without objects. ``names`` are its categories.

    An object without a possible box, image or category is left out and named.
    """

    def __init__(self, *, annotations: Path, image_root: Path) -> None:
        instances, skipped = Instances(annotations, image_root), Skipped()
        what = "a category with id and name"
        with expecting(annotations, "an instances file with a list of categories"):
            listed = numbered("category", field(instances.content, "categories", list))
        named = dict[str, str]()
        read = partial(_category, named)
        categories = sorted(set(usable(listed, read, skipped, path=annotations, of="categories", what=what)), key=_numbered)
        self.names = tuple(named[number] for number in categories)
        places = {number: place for place, number in enumerate(categories)}
        found = _regions(instances, places, skipped)
        turns = instances.turns(found, skipped)
        self._regions = {
            name: tuple(replace(region, box=turned(region.box, turn)) for region in found[name]) for name, turn in turns.items()
        }
        entries = [Entry(name, instances.paths[name]) for name in sorted(self._regions)]
        about = f"{annotations.stem}, {len(self.names):,} categories{said(turns.values())}"
        super().__init__(origin=annotations, image_root=image_root, setting="--data", entries=entries, about=about, skipped=skipped)

    def record(self, row: int) -> Record:
        """Image and regions."""
        record = super().record(row)
        return replace(record, regions=self._regions[record.id])


def _upright(label_map: np.ndarray, image: bytes, name: str) -> np.ndarray:
    """A label map as high and wide as its image, upright as it is; ``BadSample`` where it cannot be told whether it is."""
    height, width = label_map.shape
    try:
        return turned_map(label_map, turn_of(header(image, whole=True), (height, width)))
    except ValueError as error:
        raise BadSample(f"{name}: {error}") from None


def _label_map(data: bytes, name: str) -> np.ndarray:
    """Classes from 0 on, -1 where none: what is drawn in a PNG of indices or grey values."""
    try:
        with opened(data, ("PNG",)) as image:
            if image.width * image.height > MAX_MAP:
                raise ValueError(
                    f"{image.width} x {image.height} pixels, more than the limit of {MAX_MAP:,}; scale map and image down"
                )
            values = np.asarray(turn(image, orientation_of(image)))
    except Exception as error:  # damaged files raise nearly anything
        raise BadSample(f"{name}: its label map cannot be read ({error}); fetch it again") from None
    if values.ndim == 2 and values.max(initial=0) > np.iinfo(np.int16).max:
        raise BadSample(f"{name}: its label map has the class {values.max()}; classes are numbers up to {np.iinfo(np.int16).max:,}")
    if values.ndim != 2:
        raise BadSample(
            f"{name}: its label map has colours, not classes; give a PNG of one channel, 0 for none, 1 for the first class"
        )
    classes = values.astype(np.int16) - np.int16(1)
    classes[values == 255] = -1
    return classes


def _category(named: dict[str, str], category: Mapping) -> str:
    """Takes down the name of a category; its id."""
    number, name = key_of(value(category, "id")), value(category, "name")
    if not isinstance(category["id"], int | float | str) or not isinstance(name, int | str):
        raise ValueError(f"category {short(category['id'])} is called {short(name)}")
    if named.setdefault(number, str(name)) != str(name):
        raise ValueError(f"category {number} was called {named[number]!r} before")
    return number


def _numbered(number: str) -> tuple[int, str]:
    """Sorts ids that are numbers by them, before others."""
    return (int(number), "") if number.isascii() and number.isdigit() else (sys.maxsize, number)


def _regions(instances: Instances, places: Mapping[str, int], skipped: Skipped) -> dict[str, list[Region]]:
    """Regions by the name of their image."""

    def read(annotation: Mapping) -> tuple[str, Region]:
        name, box = instances.located(annotation)
        if (category := key_of(value(annotation, "category_id"))) not in places:
            raise ValueError(f"its category {category} is not in the file")
        return name, Region(box, class_id=places[category])

    found: dict[str, list[Region]] = {}
    objects = [named for named in numbered("annotation", instances.annotations) if not _crowd(named[1])]
    what = "an annotation with image_id, category_id and bbox"
    for name, region in usable(objects, read, skipped, path=instances.path, of="objects", what=what):
        found.setdefault(name, []).append(region)
    return found


def _crowd(annotation: object) -> bool:
    return isinstance(annotation, Mapping) and str(annotation.get("iscrowd") or 0) not in ("0", "0.0")
