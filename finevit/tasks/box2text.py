"""What is in a box: the caption or phrase of a region."""

from collections.abc import Iterator

from finevit.contracts import Question
from finevit.evaluation import local as measures
from finevit.registry import TASKS
from finevit.tasks.task import PHRASES, Draft, Material, Places, Task, accepted


@TASKS.register_module("box2text")
class Box2Text(Task):
    """Of each object."""

    templates = ("What is in {box}?", "Describe the region {box}.", "What can be seen at {box}?", "Name what {box} holds.")
    weight, need, places = 1.0, PHRASES, Places(drawn=1, drafted=1, shown=4)
    scores, protocols = ("score",), (measures.CAPTION_PROTOCOL,)
    title, measure = "What is in the box?", "ROUGE-L against the true words"
    figure, chart, between = ("Box → words", "ROUGE-L"), "Descriptions, ROUGE-L", "ROUGE-L"

    def drafts(self, material: Material) -> Iterator[Draft]:
        for region in material.objects:
            yield Draft(self.name, boxes=(region.box,), answer=region.caption.strip() or region.phrase)

    def score(self, question: Question, prediction: str) -> dict[str, float]:
        return {"score": measures.rouge_l(prediction, accepted(question))}
