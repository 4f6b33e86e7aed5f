"""The MMEngine metric of Stage III; how answers are scored is each task's (``finevit.tasks``)."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from mmengine.evaluator import BaseMetric

from finevit.contracts import Question
from finevit.registry import METRICS
from finevit.tasks.task import all_tasks, task_of


class Judged(NamedTuple):
    """An answer: which image, the question with its truth, the ``prediction``, and its ``scores`` by name, each in [0, 1]."""

    id: str
    question: Question
    prediction: str
    scores: Mapping[str, float]


@METRICS.register_module()
class LocalTasks(BaseMetric):
    """What a model answers about boxes, texts and numbers of objects in an image.

    Keys, for the tasks that were asked: each task's own scores, as ``text2box_iou50`` or ``box2ocr_anls``, its number of questions,
    as ``text2box_n``, and right answers where the set counts these (``ocrbench``); ``local``: the mean of the first scores of those
    tasks that are ``local`` (``text2box``, ``ocr2box``, ``box2ocr``, ``counting``); ``parse_failures``: the share of answers that
    should hold a box or a number and hold none, which count as wrong too.

    Reads ``id``, ``questions`` (list of :class:`~finevit.contracts.Question`) and ``predictions`` (texts) of each image. Images
    that come twice count once. Afterwards ``latest`` holds every answer in the main process, for pages, and ``protocol``
    names what was used, with the style of the boxes.
    """

    default_prefix = "stage3"

    def __init__(self, *, collect_device: str = "cpu") -> None:
        super().__init__(collect_device)
        self.latest: list[Judged] = []
        self.protocol = ", ".join(dict.fromkeys(protocol for task in all_tasks().values() for protocol in task.protocols))

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            questions, predictions = list(sample["questions"]), list(sample["predictions"])
            if len(questions) != len(predictions):
                raise ValueError(
                    f"{sample['id']}: {len(predictions)} answers to {len(questions)} questions; the stage must answer each"
                )
            scores = [_judge(*pair) for pair in zip(questions, predictions, strict=True)]
            self.results.append({"id": sample["id"], "questions": questions, "predictions": predictions, "scores": scores})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        self.latest = [answer for result in {result["id"]: result for result in results}.values() for answer in _answers(result)]
        if not self.latest:
            return {}
        self.protocol = _protocol([answer.question for answer in self.latest])
        values = _means(self.latest)
        unread = [answer.scores["unread"] for answer in self.latest if "unread" in answer.scores]
        parts = [values[key] for key in local_keys() if key in values]
        return {**values, **({"parse_failures": fmean(unread)} if unread else {}), **({"local": fmean(parts)} if parts else {})}


def local_keys() -> list[str]:
    """The keys whose mean is ``local``."""
    return [task.headline for task in all_tasks().values() if task.local]


def _judge(question: Question, prediction: str) -> dict[str, float]:
    return {name: float(score) for name, score in task_of(question).score(question, prediction).items()}


def _answers(result: Mapping) -> list[Judged]:
    """The answers about an image; MMEngine has made plain tuples of the questions."""
    triples = zip(result["questions"], result["predictions"], result["scores"], strict=True)
    return [Judged(result["id"], Question(*question), prediction, scores) for question, prediction, scores in triples]


def _means(answers: Sequence[Judged]) -> dict[str, float]:
    """The mean of each score and the number of questions, by task; the number of right answers too where the task counts it."""
    found: dict[str, list[float]] = {}
    totals: dict[str, float] = {}
    for answer in answers:
        task = task_of(answer.question)
        for key, score in answer.scores.items():
            found.setdefault(f"{task.key}_{key}", []).append(score)
        if task.total:
            totals[task.total] = totals.get(task.total, 0.0) + answer.scores[task.scores[0]]
    values = {key: fmean(scores) for key, scores in found.items() if not key.endswith("_unread")}
    numbers = {f"{key.rpartition('_')[0]}_n": float(len(scores)) for key, scores in found.items()}
    return {**values, **numbers, **totals}


def _protocol(questions: Sequence[Question]) -> str:
    used = dict.fromkeys(protocol for question in questions for protocol in task_of(question).protocols)
    styles = dict.fromkeys(question.style for question in questions if question.boxes and question.style)
    return ", ".join(used) + (f"; boxes as {', '.join(styles)}" if styles else "")
