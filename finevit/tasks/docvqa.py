"""Questions about documents that DocVQA brings along."""

from finevit.contracts import Question
from finevit.evaluation import local as measures
from finevit.registry import TASKS
from finevit.tasks.task import Places, Task, accepted


@TASKS.register_module("docvqa")
class DocVQA(Task):
    """ANLS, as the set's own script."""

    places = Places(shown=6)
    scores, protocols = ("anls",), (measures.ANLS_PROTOCOL,)
    title, measure = "What does the document say?", "ANLS against the accepted answers"
    figure, chart, between = ("DocVQA", "ANLS"), "Documents", "ANLS"

    def score(self, question: Question, prediction: str) -> dict[str, float]:
        return {"anls": measures.anls(prediction, accepted(question))}
