"""OCRBench: 1,000 questions about text in images, out of 29 data sets (paper, evaluation of Stage III)."""

from pathlib import Path
from typing import Any

from finevit.contracts import Question
from finevit.registry import BENCHMARKS, DATASETS

from .fields import field, path_of, value
from .files import Skipped
from .fixed import FixedSet, annotation_file, answered, by_image, load_json, numbered, usable

IMAGES = "OCRBench_Images"
"""The folder of the images, as the authors' archive has it."""
FORMULAS = "HME100k"
"""The part with handwritten formulas, whose answers the authors compare without spaces."""


@BENCHMARKS.register_module(name="ocrbench")
@DATASETS.register_module()
class OCRBench(FixedSet):
    """``OCRBench.json`` of the authors; ``facts["questions"]`` are the questions about an image, word for word.

    Questions are of the task ``ocrbench``, those about formulas (HME100k) of ``ocrbench_formula``, since they are compared in
    another way; every answer in the file is accepted.

    Args:
        annotations: the JSON file.
        image_root: the folder that the entries' paths (``IIIT5K/...``) start at; by default ``OCRBench_Images`` beside the file, or
            else the folder of the file.
    """

    task = "questions"

    def __init__(self, *, annotations: str | Path, image_root: str | Path | None = None) -> None:
        path, root = annotation_file(annotations, image_root)
        if image_root is None and (root / IMAGES).is_dir():
            root = root / IMAGES
        content = load_json(path)
        if not isinstance(content, list):
            raise ValueError(f"annotations={str(annotations)!r} is no file of OCRBench: it must hold a list of questions")
        skipped, what = Skipped(), "a question with dataset_name, image_path, question and answers"
        entries = by_image(usable(numbered("question", content), _question, skipped, path=path, of="questions", what=what))
        about = f"OCRBench, {len(content):,} questions"
        super().__init__(origin=path, image_root=root, setting="image_root", entries=entries, about=about, skipped=skipped)


def _question(item: Any) -> tuple[str, Question]:
    task = "ocrbench_formula" if field(item, "dataset_name", str) == FORMULAS else "ocrbench"
    return path_of(item, "image_path"), answered(task, field(item, "question", str), value(item, "answers"))
