"""DocVQA: questions about scanned documents, answered with the words that stand there (paper, evaluation of Stage III)."""

from pathlib import Path
from typing import Any

from finevit.contracts import Question
from finevit.registry import BENCHMARKS, DATASETS

from .fields import field, path_of, value
from .files import Skipped
from .fixed import FixedSet, annotation_file, answered, by_image, load_json, numbered, usable


@BENCHMARKS.register_module(name="docvqa")
@DATASETS.register_module()
class DocVQA(FixedSet):
    """``val_v1.0_withQT.json`` of DocVQA (or ``val_v1.0.json``); ``facts["questions"]`` are the questions about a page.

    Questions are of the task ``docvqa`` and as they are in the file; every answer in it is accepted. The test split comes without
    answers: only DocVQA's server scores it.

    Args:
        annotations: the JSON file.
        image_root: the folder that holds ``documents``; by default that of the file.
    """

    task = "questions"

    def __init__(self, *, annotations: str | Path, image_root: str | Path | None = None) -> None:
        path, root = annotation_file(annotations, image_root)
        content = load_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("data"), list):
            raise ValueError(f"annotations={str(annotations)!r} is no file of DocVQA: looked for 'data', a list of questions")
        if content["data"] and not any(isinstance(item, dict) and "answers" in item for item in content["data"]):
            raise ValueError(f"annotations={str(annotations)!r} holds no answers, like DocVQA's test split; give that of val")
        skipped, what = Skipped(), "a question with question, image and answers"
        entries = by_image(usable(numbered("question", content["data"]), _question, skipped, path=path, of="questions", what=what))
        about = f"DocVQA {content.get('dataset_split', path.stem)}, {len(content['data']):,} questions"
        super().__init__(origin=path, image_root=root, setting="image_root", entries=entries, about=about, skipped=skipped)


def _question(item: Any) -> tuple[str, Question]:
    return path_of(item, "image"), answered("docvqa", field(item, "question", str), value(item, "answers"))
