"""COCO: images, boxes in pixels with categories, and captions, in one JSON object or two."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from finevit.boxes import Box
from finevit.contracts import Region, Source
from finevit.datasets.decoding.frames import turned
from finevit.datasets.readers.annotations import UNNAMED
from finevit.datasets.readers.coco import worded
from finevit.datasets.readers.fields import field, key_of, value
from finevit.datasets.readers.files import Skipped, existing
from finevit.datasets.readers.fixed import numbered, usable
from finevit.datasets.readers.instances import Instances
from finevit.registry import SHARD_FORMATS

from .base import Entries, Entry, ShardFormat, Stored, count_left, put, stored

FILES = ("instances.json", "captions.json")
"""What an export has, and a folder is looked through for."""
OBJECT = "object"
_WHAT = "an annotation with image_id and bbox or caption"


@SHARD_FORMATS.register_module(name="coco")
class Coco(ShardFormat):
    """``instances.json``, ``captions.json`` and ``images/``. Texts of regions stand under keys of our own (``phrase``, ``caption``,
    ``text``, ``kind``), which others pass over; a region without a class has the category ``object``. Masks and crowds are not
    read."""

    def records(self, path: Path, *, images: Path | None, style: str) -> Source:
        """One record for each image that a file lists; of a folder, of its ``instances.json`` and ``captions.json``."""
        path = existing(path, setting="PATH")
        files = [path] if path.is_file() else [path / name for name in FILES if (path / name).is_file()]
        if not files:
            raise ValueError(f"{path} holds neither {FILES[0]} nor {FILES[1]}; give the file")
        root = existing(images, setting="--images") if images else _images(files[0].parent)
        skipped, found, classes = Skipped(), dict[str, Entry](), dict[str, int]()
        for file in files:
            _read(Instances(file, root), found, classes, skipped)
        return Entries(data_root=path, images=root, entries=list(found.values()), skipped=skipped, classes=tuple(classes))

    def write(self, source: Source, out: Path, *, style: str, advance: Callable[[], object]) -> Counter[str]:
        """Writes both files and the images."""
        names = class_names(source)
        left_out, images, boxes, captions = Counter[str](), list[dict](), list[dict](), list[dict]()
        for item in stored(source, left_out, advance):
            put(out / "images" / item.file, item.data)
            count_left(item.record, left_out, known={"captions", "regions"})
            images.append(image_entry(item))
            boxes += ({"id": len(boxes) + place, **each} for place, each in enumerate(annotations(item, names), 1))
            told = ({"image_id": item.number + 1, "caption": text, "captioner": who} for who, text in item.record.captions.items())
            captions += ({"id": len(captions) + place, **each} for place, each in enumerate(told, 1))
        categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
        for file, content in zip(FILES, ({"annotations": boxes, "categories": categories}, {"annotations": captions}), strict=True):
            put(out / file, json.dumps({"images": images, **content}, ensure_ascii=False).encode())
        return left_out


def _images(folder: Path) -> Path:
    return folder / "images" if (folder / "images").is_dir() else folder


def _read(instances: Instances, found: dict[str, Entry], classes: dict[str, int], skipped: Skipped) -> None:
    """Adds the images of a file to those that were found, with its captions and regions; ``classes`` numbers the categories."""
    path, categories = instances.path, dict[str, str]()
    for category in instances.content.get("categories") or ():
        categories[key_of(value(category, "id"))] = name = field(category, "name", str)
        classes.setdefault(name, len(classes))
    listed = numbered("image", instances.content["images"])
    names = dict(usable(listed, instances.image, skipped, path=path, of="images", what="an image with id and file_name"))
    upright = {name: 1 for key, name in names.items() if instances.listed(key).get("upright") is True}
    turns = upright | instances.turns((name for name in names.values() if name not in upright), skipped)
    for key, name in names.items():
        if name in turns:
            found.setdefault(name, Entry(_called(instances, key, name), instances.paths[name]))

    def annotation(each: Mapping[str, Any]) -> None:
        if each.get("iscrowd"):
            raise ValueError("it is a crowd")
        if "caption" in each and "bbox" not in each:
            _caption(found[names[key_of(value(each, "image_id"))]].captions, each)
            return
        name, box = instances.located(each)
        found[name].regions.append(_region(each, turned(box, turns[name]), categories, classes))

    for _ in usable(numbered("annotation", instances.annotations), annotation, skipped, path=path, of="annotations", what=_WHAT):
        pass


def _called(instances: Instances, key: str, name: str) -> str:
    own = instances.listed(key).get("name")
    return own if isinstance(own, str) and own else name


def _caption(captions: dict[str, str], each: Mapping[str, Any]) -> None:
    base, text = str(each.get("captioner") or UNNAMED), worded(each, "caption")
    names = (base if not number else f"{base}-{number + 1}" for number in range(len(captions) + 1))
    captions[next(name for name in names if name not in captions)] = text


def _region(each: Mapping[str, Any], box: Box, categories: Mapping[str, str], classes: Mapping[str, int]) -> Region:
    name = categories.get(key_of(each.get("category_id")), "")
    texts = {key: field(each, key, str, "") for key in ("phrase", "caption", "text")}
    kind = field(each, "kind", str, "object")
    classed = bool(name) and "phrase" not in each
    return Region(box, kind, class_id=_class(each, classes.get(name, -1)), **{**texts, **({"phrase": name} if classed else {})})


def _class(each: Mapping[str, Any], number: int) -> int:
    return field(each, "class_id", int, number)


def class_names(source: Source) -> list[str]:
    """The categories: the source's classes, and one for regions without."""
    classes = list(getattr(source, "classes", ()))
    return classes if OBJECT in classes else [*classes, OBJECT]


def image_entry(item: Stored) -> dict[str, Any]:
    """An image; boxes are of the upright one, whatever its EXIF entry says, and so are width and height."""
    told = {"id": item.number + 1, "file_name": item.file, "width": item.width, "height": item.height}
    return {**told, "upright": True, "name": item.record.id}


def annotations(item: Stored, names: list[str]) -> Iterator[dict[str, Any]]:
    """The regions of a record as annotations, but for their ids."""
    for region in item.record.regions:
        x1, y1, x2, y2 = region.box
        box = [x1 * item.width, y1 * item.height, (x2 - x1) * item.width, (y2 - y1) * item.height]
        number = region.class_id if 0 <= region.class_id < len(names) else names.index(OBJECT)
        texts = {"phrase": region.phrase, "caption": region.caption, "text": region.text, "kind": region.kind}
        told = {"image_id": item.number + 1, "category_id": number + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        yield {**told, "class_id": region.class_id, **texts}
