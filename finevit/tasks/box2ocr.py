"""What is written in a box."""

from collections.abc import Iterator

from finevit.contracts import Question
from finevit.evaluation import local as measures
from finevit.registry import TASKS
from finevit.tasks.task import TEXTS, Draft, Material, Places, Task, accepted


@TASKS.register_module("box2ocr")
class Box2Ocr(Task):
    """Of each region that holds a text."""

    templates = ("What is written in {box}?", "Read the text at {box}.", "Which text does {box} hold?", "Transcribe {box}.")
    weight, need, places = 1.0, TEXTS, Places(drawn=3, drafted=2, shown=2)
    scores, protocols, local = ("exact", "anls"), (measures.OCR_PROTOCOL, measures.ANLS_PROTOCOL), True
    title, measure = "What is written there?", "right where every character is"
    figure, chart = ("Box → its text", "exact"), "Boxes, texts and numbers"

    def drafts(self, material: Material) -> Iterator[Draft]:
        for region in material.lines:
            yield Draft(self.name, boxes=(region.box,), answer=region.text)

    def score(self, question: Question, prediction: str) -> dict[str, float]:
        return {"exact": measures.exact(prediction, accepted(question)), "anls": measures.anls(prediction, accepted(question))}
