"""The MMEngine metric of Stage III; the arithmetic is in ``finevit.evaluation.local``."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from mmengine.evaluator import BaseMetric

from finevit.boxes import parse
from finevit.contracts import Question
from finevit.evaluation import local
from finevit.registry import METRICS
from finevit.suggest import did_you_mean


class Judged(NamedTuple):
    """An answer: which image, the question with its truth, what was ``said``, and its ``scores`` by name, each in [0, 1]."""

    id: str
    question: Question
    said: str
    scores: Mapping[str, float]


def _accepted(question: Question) -> tuple[str, ...]:
    return question.answer, *question.strings


def _boxes(question: Question, said: str) -> dict[str, float]:
    if not question.boxes:
        raise ValueError(f"the {question.task} question {question.text!r} has no true box; give Question.boxes")
    found = parse(said, question.style, question.size)
    return {"iou50": local.grounded(found, question.boxes), "unread": not found}


def _ocr(question: Question, said: str) -> dict[str, float]:
    accepted = _accepted(question)
    return {"exact": local.exact(said, accepted), "anls": local.anls(said, accepted)}


def _count(question: Question, said: str) -> dict[str, float]:
    found = local.number(said)
    return {"exact": found is not None and found == local.number(question.answer), "unread": found is None}


def _caption(question: Question, said: str) -> dict[str, float]:
    return {"score": local.rouge_l(said, _accepted(question))}


def _document(question: Question, said: str) -> dict[str, float]:
    return {"anls": local.anls(said, _accepted(question))}


def _text(question: Question, said: str) -> dict[str, float]:
    return {"share": local.contains(said, _accepted(question))}


def _formula(question: Question, said: str) -> dict[str, float]:
    return {"share": local.contains(said, _accepted(question), formula=True)}


class Task(NamedTuple):
    """How answers are scored: the name that keys begin with, the function, and the protocols."""

    name: str
    score: Callable[[Question, str], dict[str, float]]
    protocols: tuple[str, ...]


TASKS = {
    "text2box": Task("text2box", _boxes, (local.GROUNDING_PROTOCOL,)),
    "ocr2box": Task("ocr2box", _boxes, (local.GROUNDING_PROTOCOL,)),
    "box2ocr": Task("box2ocr", _ocr, (local.OCR_PROTOCOL, local.ANLS_PROTOCOL)),
    "counting": Task("counting", _count, (local.COUNTING_PROTOCOL,)),
    "box2text": Task("box2text", _caption, (local.CAPTION_PROTOCOL,)),
    "global_caption": Task("global_caption", _caption, (local.CAPTION_PROTOCOL,)),
    "docvqa": Task("docvqa", _document, (local.ANLS_PROTOCOL,)),
    "ocrbench": Task("ocrbench", _text, (local.OCRBENCH_PROTOCOL,)),
    "ocrbench_formula": Task("ocrbench", _formula, (local.OCRBENCH_PROTOCOL,)),
}
"""By the name in ``Question.task``."""
LOCAL = ("text2box_iou50", "ocr2box_iou50", "box2ocr_exact", "counting_exact")
"""The keys whose mean is ``local``."""


@METRICS.register_module()
class LocalTasks(BaseMetric):
    """What a model answers about boxes, texts and numbers of objects in an image.

    Keys, for the tasks that were asked: ``text2box_iou50``, ``ocr2box_iou50``, ``box2ocr_exact``, ``box2ocr_anls``,
    ``counting_exact``, ``box2text_score``, ``global_caption_score``, ``docvqa_anls``, ``ocrbench_share`` and ``ocrbench`` (right
    answers, out of 1,000 for the whole set); ``text2box_n`` and so on (questions); ``local``: the mean of those that are there of
    ``text2box_iou50``, ``ocr2box_iou50``, ``box2ocr_exact`` and ``counting_exact``; ``parse_failures``: the share of answers that
    should hold a box or a number and hold none, which count as wrong too.

    Reads ``id``, ``asked`` (list of :class:`~finevit.contracts.Question`) and ``said`` (the answers, as texts) of each prediction.
    Images that come twice count once. Afterwards ``latest`` holds every answer in the main process, for pages, and ``protocol``
    names what was used, with the style of the boxes.
    """

    default_prefix = "stage3"

    def __init__(self, *, collect_device: str = "cpu") -> None:
        super().__init__(collect_device)
        self.latest: list[Judged] = []
        self.protocol = ", ".join(dict.fromkeys(protocol for task in TASKS.values() for protocol in task.protocols))

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            asked, said = list(sample["asked"]), list(sample["said"])
            if len(asked) != len(said):
                raise ValueError(f"{sample['id']}: {len(said)} answers to {len(asked)} questions; the stage must answer each")
            scores = [_judge(*pair) for pair in zip(asked, said, strict=True)]
            self.results.append({"id": sample["id"], "asked": asked, "said": said, "scores": scores})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        self.latest = [answer for result in {result["id"]: result for result in results}.values() for answer in _answers(result)]
        if not self.latest:
            return {}
        self.protocol = _protocol([answer.question for answer in self.latest])
        values = _means(self.latest)
        unread = [answer.scores["unread"] for answer in self.latest if "unread" in answer.scores]
        parts = [values[key] for key in LOCAL if key in values]
        return {**values, **({"parse_failures": fmean(unread)} if unread else {}), **({"local": fmean(parts)} if parts else {})}


def _judge(question: Question, said: str) -> dict[str, float]:
    if question.task not in TASKS:
        known = f"{did_you_mean(question.task, TASKS)}; known are {', '.join(TASKS)}"
        raise ValueError(f"LocalTasks: a question has the task {question.task!r}, which is unknown{known}")
    return {name: float(score) for name, score in TASKS[question.task].score(question, said).items()}


def _answers(result: Mapping) -> list[Judged]:
    """The answers about an image; MMEngine has made plain tuples of the questions."""
    triples = zip(result["asked"], result["said"], result["scores"], strict=True)
    return [Judged(result["id"], Question(*asked), said, scores) for asked, said, scores in triples]


def _means(answers: Sequence[Judged]) -> dict[str, float]:
    """The mean of each score and the number of questions, by task; of OCRBench the number of right answers too."""
    found: dict[str, list[float]] = {}
    for answer in answers:
        name = TASKS[answer.question.task].name
        for key, score in answer.scores.items():
            found.setdefault(f"{name}_{key}", []).append(score)
    values = {key: fmean(scores) for key, scores in found.items() if not key.endswith("_unread")}
    numbers = {f"{key.rpartition('_')[0]}_n": float(len(scores)) for key, scores in found.items()}
    return {**values, **numbers, **({"ocrbench": sum(found["ocrbench_share"])} if "ocrbench_share" in found else {})}


def _protocol(questions: Sequence[Question]) -> str:
    used = dict.fromkeys(protocol for question in questions for protocol in TASKS[question.task].protocols)
    styles = dict.fromkeys(question.style for question in questions if question.boxes and question.style)
    return ", ".join(used) + (f"; boxes as {', '.join(styles)}" if styles else "")
