"""DocVQA: questions about scanned documents, answered with the words that stand there (paper, evaluation of Stage III)."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from finevit.contracts import Question
from finevit.registry import BENCHMARKS, DATASETS

from .fields import field, short, value
from .files import Skipped
from .fixed import Entry, FixedSet, annotation_file, load_json, numbered, usable


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


def by_image(asked: Iterable[tuple[str, Question]]) -> list[Entry]:
    """One entry for each image, with all questions about it, in the order in which they come."""
    found: dict[str, list[Question]] = {}
    for image, question in asked:
        found.setdefault(image, []).append(question)
    return [Entry(image, image, facts={"questions": tuple(questions)}) for image, questions in found.items()]


def answered(task: str, text: str, answers: object) -> Question:
    """A question with the first of its answers as ``answer`` and the others as ``strings``; ``ValueError`` where all are empty."""
    given = answers if isinstance(answers, list | tuple) else [answers]
    if wrong := [answer for answer in given if not _written(answer)]:
        raise ValueError(f"the {task} question {short(text)} has the answer {short(wrong[0])}, which is no text")
    texts = [answer if isinstance(answer, str) else short(answer) for answer in given if answer is not None]
    found = [text.strip() for text in texts if text.strip()]
    if not text.strip():
        raise ValueError(f"the {task} question has no words")
    if not found:
        raise ValueError(f"the {task} question {short(text)} has no answer")
    return Question(task=task, text=text.strip(), answer=found[0], strings=tuple(found[1:]))


def _written(answer: object) -> bool:
    """Whether an answer is a text or a number, or is left out."""
    number = isinstance(answer, int | float) and not isinstance(answer, bool) and math.isfinite(answer)
    return answer is None or isinstance(answer, str) or number


def path_of(entry: object, name: str) -> str:
    """What a field of an entry says of its image, if that is a path; else ``ValueError``."""
    image = value(entry, name)
    if not isinstance(image, str) or not image:
        raise ValueError(f"image is {short(image)}, no path")
    return image


def _question(item: Any) -> tuple[str, Question]:
    return path_of(item, "image"), answered("docvqa", field(item, "question", str), value(item, "answers"))
