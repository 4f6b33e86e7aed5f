"""Questions about texts and formulas that OCRBench brings along."""

from finevit.contracts import Question
from finevit.evaluation import local as measures
from finevit.registry import TASKS
from finevit.tasks.task import Places, Task, accepted


@TASKS.register_module("ocrbench")
class OCRBench(Task):
    """Right where an accepted answer is a part of the prediction; the number of right answers, out of 1,000, is the set's score."""

    key, places = "ocrbench", Places(shown=7)
    scores, protocols, total = ("share",), (measures.OCRBENCH_PROTOCOL,), "ocrbench"
    title, measure = "OCRBench", "right where an accepted answer is part of it"
    figure, chart = ("OCRBench", "share right"), "Documents"

    def score(self, question: Question, prediction: str) -> dict[str, float]:
        return {"share": measures.contains(prediction, accepted(question))}


@TASKS.register_module("ocrbench_formula")
class OCRBenchFormula(OCRBench):
    """Formulas are compared without spaces, with their case."""

    places = Places(shown=8)

    def score(self, question: Question, prediction: str) -> dict[str, float]:
        return {"share": measures.contains(prediction, accepted(question), formula=True)}
