"""DocVQA: questions about scanned documents, answered with the words that stand there (paper, evaluation of Stage III)."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from finevit.contracts import Question
from finevit.registry import DATASETS

from .fixed import Entry, FixedSet, annotation_file, expecting, load_json


@DATASETS.register_module()
class DocVQA(FixedSet):
    """``val_v1.0_withQT.json`` of DocVQA (or ``val_v1.0.json``); ``facts["asked"]`` are the questions about a page.

    Questions are of the task ``docvqa`` and as they are in the file; every answer in it is accepted. The test split comes without
    answers: only DocVQA's server scores it.

    Args:
        annotations: the JSON file.
        image_root: the folder that holds ``documents``; by default that of the file.
    """

    def __init__(self, *, annotations: str | Path, image_root: str | Path | None = None) -> None:
        path, root = annotation_file(annotations, image_root)
        content = load_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("data"), list):
            raise ValueError(f"annotations={str(annotations)!r} is no file of DocVQA: looked for 'data', a list of questions")
        with expecting(path, "a question with question, image and answers"):
            if content["data"] and not any("answers" in item for item in content["data"]):
                raise ValueError(f"annotations={str(annotations)!r} holds no answers, like DocVQA's test split; give that of val")
            entries = by_image(_questions(content["data"]))
        about = f"DocVQA {content.get('dataset_split', path.stem)}, {len(content['data']):,} questions"
        super().__init__(origin=path, image_root=root, setting="image_root", entries=entries, about=about)


def by_image(asked: Iterable[tuple[str, Question]]) -> list[Entry]:
    """One entry for each image, with all questions about it, in the order in which they come."""
    found: dict[str, list[Question]] = {}
    for image, question in asked:
        if not isinstance(image, str):
            raise TypeError(f"image is {image!r}, no path")
        found.setdefault(image, []).append(question)
    return [Entry(image, image, facts={"asked": tuple(questions)}) for image, questions in found.items()]


def answered(task: str, text: str, answers: str | Sequence[object]) -> Question:
    """A question with the first of its answers as ``answer`` and the others as ``strings``; ``ValueError`` where all are empty."""
    given = [answers] if isinstance(answers, str) else answers
    found = [stripped for answer in given if (stripped := str(answer).strip())]
    if not found:
        raise ValueError(f"the {task} question {text!r} has no answer; fetch the file again")
    return Question(task=task, text=text.strip(), answer=found[0], strings=tuple(found[1:]))


def _questions(items: Iterable[Any]) -> Iterator[tuple[str, Question]]:
    for item in items:
        yield item["image"], answered("docvqa", item["question"], item["answers"])
