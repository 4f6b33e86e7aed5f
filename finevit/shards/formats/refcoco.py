"""RefCOCO's layout, as ``refer`` reads it: ``refs(NAME).p`` (or ``.json``) and ``instances.json``; an expression is a region."""

import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from finevit.contracts import Region, Source
from finevit.datasets.decoding.frames import turned
from finevit.datasets.readers.fields import field, key_of, short, value
from finevit.datasets.readers.files import Skipped, clean, existing
from finevit.datasets.readers.fixed import load_json, numbered, usable
from finevit.datasets.readers.instances import Instances, by_id
from finevit.datasets.readers.refcoco import REFERENCE, load_pickle
from finevit.registry import SHARD_FORMATS

from .base import Entries, Entry, ShardFormat, count_left, put, stored
from .coco import annotations, class_names, image_entry

WRITTEN = "refs(unc).p"
"""The name under which readers look for references first."""


@SHARD_FORMATS.register_module(name="refcoco")
class Refer(ShardFormat):
    """Each expression is a region with that phrase; the splits of an image's references are its ``facts["splits"]``. An export has
    the phrases, with the boxes and classes that they name, and the images in ``train2014/``."""

    def records(self, path: Path, *, images: Path | None, style: str) -> Source:
        """One record for each image that has expressions; ``path`` is the folder, or one of its files of references."""
        path = existing(path, setting="PATH")
        files = [path] if path.is_file() else sorted(each for each in path.glob("refs*") if each.suffix in (".p", ".json"))
        if len(files) != 1:
            told = ", ".join(file.name for file in files) or "none"
            raise ValueError(f"{path} must hold one file refs(NAME).p or .json, and has {told}; give the path of the one you mean")
        folder, skipped = files[0].parent, Skipped()
        usual = folder / "train2014" if (folder / "train2014").is_dir() else folder
        root = existing(images, setting="--images") if images else usual
        instances = Instances(folder / "instances.json", root)
        listed = load_json(files[0]) if files[0].suffix == ".json" else load_pickle(files[0])
        if not isinstance(listed, list):
            raise ValueError(f"{files[0]} must hold a list of references, not {type(listed).__name__}")
        found, classes = _entries(listed, instances, skipped, files[0])
        return Entries(data_root=path, images=root, entries=found, skipped=skipped, classes=classes)

    def write(self, source: Source, out: Path, *, style: str, advance: Callable[[], object]) -> Counter[str]:
        """Writes a pickle of plain values, ``instances.json`` and the images."""
        left_out, names = Counter[str](), class_names(source)
        images, boxes, references = list[dict](), list[dict](), list[dict]()
        for item in stored(source, left_out, advance):
            put(out / "train2014" / item.file, item.data)
            images.append(image_entry(item))
            count_left(item.record, left_out, known={"regions"})
            for each in annotations(item, names):
                left_out["regions without a phrase"] += not each["phrase"]
                left_out["captions and strings of regions"] += bool(each["caption"]) + bool(each["text"])
                if each["phrase"]:
                    boxes.append({"id": len(boxes) + 1, **each})
                    references.append(_reference(boxes[-1], item.file, item.record.facts))
        categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
        content = {"images": images, "annotations": boxes, "categories": categories}
        put(out / "instances.json", json.dumps(content, ensure_ascii=False).encode())
        put(out / WRITTEN, pickle.dumps(references, protocol=2))
        return left_out


def _reference(box: Mapping[str, Any], file: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    splits = facts.get("splits")
    split = splits[0] if isinstance(splits, list) and splits and isinstance(splits[0], str) else "train"
    sentence = {"sent_id": box["id"], "sent": box["phrase"], "raw": box["phrase"], "tokens": box["phrase"].split()}
    told = {"ref_id": box["id"], "ann_id": box["id"], "image_id": box["image_id"], "category_id": box["category_id"]}
    return {**told, "file_name": file, "split": split, "sentences": [sentence], "sent_ids": [box["id"]]}


def _entries(listed: list, instances: Instances, skipped: Skipped, path: Path) -> tuple[list[Entry], tuple[str, ...]]:
    """The images with their expressions, and the names of the classes."""
    objects, _ = by_id(instances.annotations)
    names = {key_of(value(each, "id")): field(each, "name", str) for each in instances.content.get("categories") or ()}
    classes = {number: place for place, number in enumerate(names)}
    read = _reader(instances, objects, classes)
    found: dict[str, Entry] = {}
    for name, split, regions in usable(numbered("reference", listed), read, skipped, path=path, of="references", what=REFERENCE):
        entry = found.setdefault(name, Entry(name, instances.paths[name], facts={"splits": []}))
        entry.regions += regions
        entry.facts["splits"] += [split] * (split not in entry.facts["splits"])
    told = {str(each.get("file_name")): each for each in instances.content["images"] if isinstance(each, Mapping)}
    marked = {name for name in found if told.get(name, {}).get("upright") is True}
    turns = dict.fromkeys(marked, 1) | instances.turns((name for name in found if name not in marked), skipped)
    for name, entry in found.items():
        own = told.get(name, {}).get("name")
        entry.id = own if isinstance(own, str) and own else name
        turn = turns.get(name, 1)
        entry.regions = [Region(turned(each.box, turn), phrase=each.phrase, class_id=each.class_id) for each in entry.regions]
    return [entry for name, entry in found.items() if name in turns], tuple(names.values())


def _reader(
    instances: Instances, objects: Mapping[str, Mapping], classes: Mapping[str, int]
) -> Callable[[Mapping], tuple[str, str, list[Region]]]:
    def read(reference: Mapping) -> tuple[str, str, list[Region]]:
        number = key_of(value(reference, "ann_id"))
        if number not in objects:
            raise ValueError(f"annotation {short(value(reference, 'ann_id'))} is not in instances.json")
        each = objects[number]
        name, box = instances.located(each)
        own = each.get("class_id")
        class_id = own if isinstance(own, int) else classes.get(key_of(each.get("category_id")), -1)
        phrases = list(_phrases(reference))
        if not all(phrases) or not phrases:
            raise ValueError(f"annotation {number} has an expression without words")
        return name, str(reference.get("split", "")), [Region(box, phrase=phrase, class_id=class_id) for phrase in phrases]

    return read


def _phrases(reference: Mapping) -> Iterator[str]:
    for sentence in field(reference, "sentences", list):
        yield clean(field(sentence, "sent", str, ""))
