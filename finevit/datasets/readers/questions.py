"""What evaluation sets of questions share: an answer with its variants, and all questions about an image in one entry."""

import math
from collections.abc import Iterable

from finevit.contracts import Question

from .fields import short
from .fixed import Entry


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
