"""Records written to disk in the layouts that detectors, segmenters and classifiers read: COCO, ADE20K, a list of labels."""

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from finevit.contracts import Record

FOLDERS = {"train": "training", "val": "validation"}
"""ADE20K's names of the splits; images and masks of both layouts lie in folders of these names."""


def write_layouts(records: Iterable[Record], folder: Path, *, split: str, classes: list[str]) -> int:
    """Writes records with ``label_map`` and ``instance_map``; how many.

    ``images/SPLIT/*.png``; ``annotations/SPLIT/*.png`` with 0 for background and 1 + class elsewhere (ADE20K);
    ``annotations/instances_SPLIT.json`` with boxes and masks, categories numbered from 1 (COCO); ``annotations/labels_SPLIT.txt``
    with image and class of what covers most, where there is something (mmpretrain's ``CustomDataset``).
    """
    name = FOLDERS[split]
    images, annotations, labels = list[dict](), list[dict](), list[str]()
    for part in ("images", "annotations"):
        (folder / part / name).mkdir(parents=True, exist_ok=True)
    for number, record in enumerate(records):
        file, pixels, classes_of_pixels = f"{number:06d}.png", np.asarray(record.image), np.asarray(record.label_map)
        (folder / "images" / name / file).write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
        (folder / "annotations" / name / file).write_bytes(
            cv2.imencode(".png", (classes_of_pixels + 1).astype(np.uint8))[1].tobytes()
        )
        images.append({"id": number, "file_name": file, "height": pixels.shape[0], "width": pixels.shape[1]})
        annotations += _instances(record, number, first=len(annotations) + 1)
        if "label" in record.facts:
            labels.append(f"{file} {record.facts['label']}")
    categories = [{"id": number, "name": title} for number, title in enumerate(classes, 1)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"instances_{name}.json").write_text(json.dumps(coco))
    (folder / "annotations" / f"labels_{name}.txt").write_text("\n".join(labels) + "\n")
    return len(images)


def _instances(record: Record, image: int, *, first: int) -> list[dict]:
    """The objects of one record as COCO's annotations, numbered from ``first``."""
    found = list[dict]()
    for index, region in enumerate(record.regions):
        if region.kind != "object":
            continue
        mask: np.ndarray = np.asarray(record.instance_map) == index
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        left, top = int(xs[0]), int(ys[0])
        box = [left, top, int(xs[-1]) + 1 - left, int(ys[-1]) + 1 - top]
        annotation = {"id": first + len(found), "image_id": image, "category_id": region.class_id + 1, "bbox": box}
        found.append({**annotation, "area": int(mask.sum()), "iscrowd": 0, "segmentation": run_lengths(mask)})
    return found


def run_lengths(mask: np.ndarray) -> dict:
    """COCO's uncompressed run lengths of a mask ``bool [height, width]``: column by column, zeros first."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}
