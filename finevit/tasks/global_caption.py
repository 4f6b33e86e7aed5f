"""A description of the whole image."""

from collections.abc import Iterator

from finevit.contracts import Question
from finevit.evaluation import local as measures
from finevit.registry import TASKS
from finevit.tasks.task import CAPTIONS, Draft, Material, Places, Task, accepted


@TASKS.register_module("global_caption")
class GlobalCaption(Task):
    """The answer is the caption that was drawn of the record."""

    templates = ("Describe this image.", "What does this picture show?", "Write a caption.", "What can be seen here?")
    weight, need, places = 1.0, CAPTIONS, Places(drawn=0, drafted=0, shown=5)
    scores, protocols = ("score",), (measures.CAPTION_PROTOCOL,)
    title, measure = "What does the image show?", "ROUGE-L against the true words"
    figure, chart, between = ("Caption", "ROUGE-L"), "Descriptions, ROUGE-L", "ROUGE-L"

    def drafts(self, material: Material) -> Iterator[Draft]:
        if material.caption.strip():
            yield Draft(self.name, answer=material.caption)

    def score(self, question: Question, prediction: str) -> dict[str, float]:
        return {"score": measures.rouge_l(prediction, accepted(question))}
