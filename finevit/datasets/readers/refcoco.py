"""RefCOCO, RefCOCO+ and RefCOCOg: where is what an expression means (paper, evaluation of Stage III)."""

import pickle
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from finevit.boxes import Box, fault_of_box
from finevit.contracts import Question
from finevit.registry import DATASETS
from finevit.suggest import did_you_mean

from .docvqa import by_image
from .files import clean, existing
from .fixed import FixedSet, expecting, listed, load_json

USUAL = ("unc", "umd", "google")
"""Whose division into splits is taken where none is named: each set is reported with the first of these that it has."""


@DATASETS.register_module()
class RefCOCO(FixedSet):
    """A folder of refer's, with ``refs(unc).p`` and ``instances.json``; ``facts["asked"]`` has one question for each expression.

    Questions are of the task ``text2box``: ``text`` is the expression alone, ``answer`` empty, and ``boxes`` the one true box,
    canonical. The transform of the evaluation words the question and renders the box in a style.

    Args:
        data_root: the folder of ``refcoco``, ``refcoco+`` or ``refcocog``.
        image_root: the folder of ``COCO_train2014_*.jpg``; by default ``train2014`` in ``data_root``, or else that itself.
        split: ``val``, ``testA`` (people), ``testB`` (other objects), or ``val`` and ``test`` of RefCOCOg.
        split_by: who divided the set: ``unc``, ``umd`` or ``google``; by default the first of these whose file is there.
    """

    def __init__(
        self, *, data_root: str | Path, image_root: str | Path | None = None, split: str = "val", split_by: str | None = None
    ) -> None:
        root = existing(data_root)
        path, instances = _file(root, split_by), root / "instances.json"
        images = _images(root) if image_root is None else existing(image_root, setting="image_root")
        with expecting(path, "a reference with split, ann_id and sentences"):
            references = load_pickle(path)
            splits = sorted({reference["split"] for reference in references})
            if split not in splits:
                raise ValueError(f"split={split!r} is not in {path}{did_you_mean(split, splits)}; it has {', '.join(splits)}")
            chosen = [reference for reference in references if reference["split"] == split]
        with expecting(instances, "an image with id, file_name, width and height, or an annotation with id, image_id and bbox"):
            asked = list(_questions(chosen, load_json(instances)))
        about = f"{path.name}, split {split!r}, {len(asked):,} expressions"
        super().__init__(origin=path, image_root=images, setting="image_root", entries=by_image(asked), about=about)


class _Plain(pickle.Unpickler):
    """Reads lists, dicts, strings and numbers; a pickle that names anything else could run any code."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, and only lists, dicts, strings and numbers are read")


def load_pickle(path: Path) -> Any:
    """What a pickle of plain values holds; ``ValueError`` for any other, of which no code is run."""
    try:
        with path.open("rb") as file:
            return _Plain(file, encoding="utf-8", errors="replace").load()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    except Exception as error:  # what a torn pickle raises is anybody's guess
        raise ValueError(f"{path} is not a pickle of plain values ({error}); fetch it again") from None


def _questions(references: Iterable[Mapping], instances: Mapping) -> Iterator[tuple[str, Question]]:
    """Image and question of every expression."""
    images = {image["id"]: image for image in instances["images"]}
    objects = {annotation["id"]: annotation for annotation in instances["annotations"]}
    for reference in references:
        annotation = objects[reference["ann_id"]]
        image = images[annotation["image_id"]]
        box = _box(annotation, image)
        for sentence in reference["sentences"]:
            if not (text := clean(sentence["sent"])):
                raise ValueError(f"annotation {annotation['id']} has an expression without words")
            yield image["file_name"], Question(task="text2box", text=text, answer="", boxes=(box,))


def _box(annotation: Mapping, image: Mapping) -> Box:
    """COCO's x, y, width, height in pixels -> canonical xyxy; what passes the image's edge is cut off."""
    left, top, wide, high = (annotation["bbox"][place] for place in range(4))
    width, height = image["width"], image["height"]
    if min(width, height) < 1:
        raise ValueError(f"image {image['id']} has {width} x {height} pixels")
    x1, y1 = max(left / width, 0.0), max(top / height, 0.0)
    x2, y2 = min((left + wide) / width, 1.0), min((top + high) / height, 1.0)
    if fault := fault_of_box((x1, y1, x2, y2)):
        raise ValueError(f"annotation {annotation['id']} has bbox {annotation['bbox']} in {width} x {height} pixels: {fault}")
    return x1, y1, x2, y2


def _file(root: Path, split_by: str | None) -> Path:
    """The file of references; ``ValueError`` says what is there."""
    paths = [root / f"refs({name}).p" for name in ([split_by] if split_by else USUAL)]
    for path in paths:
        if path.is_file() and (root / "instances.json").is_file():
            return path
    wanted = " or ".join(path.name for path in paths)
    setting = f"data_root={str(root)!r}" + (f", split_by={split_by!r}" if split_by else "")
    raise ValueError(f"{setting}: looked for {wanted} and instances.json; the folder holds {listed(root)}")


def _images(root: Path) -> Path:
    return root / "train2014" if (root / "train2014").is_dir() else root
