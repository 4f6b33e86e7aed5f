"""Readers of what dense probes learn from: label maps as ADE20K has them, and objects as COCO has them."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from finevit.boxes import fault_of_box
from finevit.contracts import BadSample, Record, Region
from finevit.datasets.images import decode
from finevit.datasets.readers.files import IMAGE_SUFFIXES, Skipped, read
from finevit.datasets.readers.fixed import Entry, FixedSet, expecting, load_json


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
        about = f"label maps of {root.name}, {split}"
        super().__init__(origin=root, image_root=folder, setting="--data", entries=entries, about=about, skipped=skipped)

    def record(self, row: int) -> Record:
        """Image and label map; ``BadSample`` where they do not fit each other."""
        record = super().record(row)
        path = (self._maps / record.id).with_suffix(".png")
        label_map = _label_map(read(path, name=record.id), record.id)
        assert isinstance(record.image, bytes)
        image = decode(record.image, name=record.id)
        if image.shape[:2] != label_map.shape:
            sizes = " and ".join(f"{shape[1]} x {shape[0]}" for shape in (image.shape, label_map.shape))
            raise BadSample(f"{record.id}: image and {path} are {sizes} pixels; give maps of the size of their images")
        return replace(record, image=image, label_map=label_map)


class CocoRegions(FixedSet):
    """Objects of an instances file as regions; crowds are left out, and images without objects. ``names`` are its categories."""

    def __init__(self, *, annotations: Path, image_root: Path) -> None:
        content = load_json(annotations)
        with expecting(
            annotations, "an image with id, file_name, width and height, an annotation with bbox, or a category with a name"
        ):
            categories = sorted(content["categories"], key=lambda category: category["id"])
            self.names = tuple(category["name"] for category in categories)
            self._regions = _regions(content, {category["id"]: place for place, category in enumerate(categories)})
        entries = [Entry(name, name) for name in sorted(self._regions)]
        about = f"{annotations.stem}, {len(self.names):,} categories"
        super().__init__(origin=annotations, image_root=image_root, setting="--data", entries=entries, about=about)

    def record(self, row: int) -> Record:
        """Image and regions."""
        record = super().record(row)
        return replace(record, regions=self._regions[record.id])


def _label_map(data: bytes, name: str) -> np.ndarray:
    """Classes from 0 on, -1 where none: what is drawn in a PNG of indices or grey values."""
    try:
        values = np.asarray(Image.open(io.BytesIO(data))).astype(np.int32)
    except Exception as error:  # damaged files raise nearly anything
        raise BadSample(f"{name}: its label map cannot be read ({error}); fetch it again") from None
    if values.ndim != 2:
        raise BadSample(
            f"{name}: its label map has colours, not classes; give a PNG of one channel, 0 for none, 1 for the first class"
        )
    return np.where((values == 0) | (values == 255), -1, values - 1).astype(np.int16)


def _regions(content: Mapping, places: Mapping[int, int]) -> dict[str, tuple[Region, ...]]:
    """Regions by the name of their image."""
    images = {image["id"]: image for image in content["images"]}
    found: dict[str, list[Region]] = {}
    for annotation in content["annotations"]:
        if annotation.get("iscrowd"):
            continue
        image, (x, y, wide, high) = images[annotation["image_id"]], annotation["bbox"]
        box = (x / image["width"], y / image["height"], (x + wide) / image["width"], (y + high) / image["height"])
        box = tuple(min(1.0, max(0.0, value)) for value in box)
        if not fault_of_box(box):
            found.setdefault(image["file_name"], []).append(Region(box, class_id=places[annotation["category_id"]]))
    return {name: tuple(regions) for name, regions in found.items()}
