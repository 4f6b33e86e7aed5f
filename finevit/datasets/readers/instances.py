"""An instances file of COCO, as RefCOCO, LVIS and probes use it: which image an annotation is of, and where its box lies."""

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from finevit.boxes import Box, fault_of_box
from finevit.datasets.decoding.frames import Size, turn_of

from .annotations import MOST
from .fields import field, identity, key_of, mapping, short
from .files import Skipped, header_of
from .fixed import expecting, load_json


class Instances:
    """``content`` of a file; ``paths`` below ``image_root`` of the images that were asked for, by the names in the file."""

    def __init__(self, path: Path, image_root: Path) -> None:
        self.path, self._root = path, image_root
        self.content = load_json(path)
        with expecting(path, "an instances file with lists of images and annotations"):
            self._images, self._twice = by_id(field(self.content, "images", list))
            self.annotations = field(self.content, "annotations", list)
        self.paths: dict[str, str] = {}
        self._sizes: dict[str, Size | None] = {}
        self._owners: dict[str, object] = {}

    def located(self, annotation: Mapping[str, Any]) -> tuple[str, Box]:
        """Name of the image and canonical box, turned as ``annotation`` has it; ``ValueError`` says what is wrong."""
        number = key_of(mapping(annotation, "image_id").get("image_id"))
        image = self._images.get(number)
        if number in self._twice:
            raise ValueError(f"{self.path.name} has several images of the id {number}")
        if image is None:
            raise ValueError(f"its image {short(annotation.get('image_id'))} is not in {self.path.name}")
        name = self._named(image)
        return name, _box(annotation, self._sizes[name] or self._own(name))

    def image(self, listed: Mapping[str, Any]) -> tuple[str, str]:
        """Id and name of a listed image, which has one of its own; ``ValueError`` says what is wrong."""
        number = identity(listed, "id")
        if number in self._twice:
            raise ValueError(f"{self.path.name} has several images of the id {number}")
        return number, self._named(listed)

    def listed(self, number: str) -> Mapping[str, Any]:
        """What the file says of the image of an id."""
        return self._images[number]

    def turns(self, names: Iterable[str], skipped: Skipped) -> dict[str, int]:
        """The orientation by which the boxes of each image become upright; images of which it cannot be told are noted."""
        found = dict[str, int]()
        for name in names:
            try:
                found[name] = turn_of(header_of(self._root / self.paths[name]), self._sizes[name])
            except ValueError as error:
                skipped.add(f"{self.path.name}: {name}: {error}")
        return found

    def _named(self, image: Mapping[str, Any]) -> str:
        """The image's name; of LVIS, which has none, the last two parts of its address."""
        name = field(image, "file_name", str, "") or "/".join(field(image, "coco_url", str, "").split("/")[-2:])
        if not name:
            raise ValueError(f"image {short(image['id'])} has neither file_name nor coco_url")
        size = _size(image)
        if self._owners.setdefault(name, image["id"]) != image["id"] and self._sizes[name] != size:
            raise ValueError(f"image {short(image['id'])} has the file_name of image {short(self._owners[name])}, but another size")
        if name not in self.paths:
            self._sizes[name], self.paths[name] = size, self._path(name, image)
        return name

    def _path(self, name: str, image: Mapping[str, Any]) -> str:
        """Where the image is: a name with a folder may begin beside ``image_root``, and an address anywhere."""
        places = [name, *([f"../{name}"] if "/" in name else []), *([] if image.get("file_name") else [Path(name).name])]
        return next((place for place in places if len(places) > 1 and os.path.isfile(self._root / place)), name)

    def _own(self, name: str) -> Size:
        """The upright size that the image's file tells, where the annotations tell none."""
        if not (found := header_of(self._root / self.paths[name])):
            raise ValueError(f"its image {name} has no width and height, and its file cannot be read")
        return found.upright


def by_id(entries: Iterable[object]) -> tuple[dict[str, Mapping], set[str]]:
    """Entries by their ids, and the ids that several different entries have."""
    found, twice = dict[str, Mapping](), set[str]()
    for entry in entries:
        if isinstance(entry, Mapping) and entry.get("id") is not None:
            number = key_of(entry["id"])
            if found.setdefault(number, entry) != entry:
                twice.add(number)
    return found, twice


def _size(image: Mapping[str, Any]) -> Size | None:
    height, width = image.get("height"), image.get("width")
    if height is None and width is None:
        return None
    if not all(isinstance(side, int | float) and 1 <= side < MOST for side in (height, width)):
        raise ValueError(f"image {short(image['id'])} has {short(width)} x {short(height)} pixels")
    return int(height), int(width)  # type: ignore[arg-type]


def _box(annotation: Mapping[str, Any], size: Size) -> Box:
    """COCO's x, y, width, height in pixels -> canonical xyxy; what passes the image's edge is cut off."""
    height, width = size
    where = f"annotation {short(annotation.get('id'))} has bbox {short(annotation.get('bbox'))}"
    try:
        left, top, wide, high = map(float, annotation["bbox"])
    except KeyError:
        raise ValueError(f"annotation {short(annotation.get('id'))} has no bbox") from None
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where}: it needs four numbers") from None
    if not all(map(math.isfinite, (left, top, wide, high))):
        raise ValueError(f"{where}: it needs four finite numbers")
    x1, y1 = max(left / width, 0.0), max(top / height, 0.0)
    x2, y2 = min((left + wide) / width, 1.0), min((top + high) / height, 1.0)
    if fault := fault_of_box((x1, y1, x2, y2)):
        raise ValueError(f"{where} in {width} x {height} pixels: {fault}")
    return x1, y1, x2, y2
