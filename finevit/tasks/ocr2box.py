"""Where a text is written."""

from collections.abc import Iterator

from finevit.contracts import Question
from finevit.evaluation import local as measures
from finevit.registry import TASKS
from finevit.tasks.names import Name, located, plain, words
from finevit.tasks.task import TEXTS, Draft, Material, Places, Task, box_scores


@TASKS.register_module("ocr2box")
class Ocr2Box(Task):
    """Texts that differ in signs alone are one, and have no sure answer."""

    templates = ("Where is the text “{about}”?", "Locate the words “{about}”.", "Find where it says “{about}”.")
    weight, need, places = 1.0, TEXTS, Places(drawn=4, drafted=4, shown=1)
    scores, protocols, local = ("iou50",), (measures.GROUNDING_PROTOCOL,), True
    title, measure = "Where is this text?", "right from IoU 0.5 on"
    figure, chart = ("Text → its box", "IoU ≥ 0.5"), "Boxes, texts and numbers"
    answers_boxes, wanted = True, "valid box"

    def drafts(self, material: Material) -> Iterator[Draft]:
        names = [region.text for region in material.lines]
        pool = [Name(words(region.text), region.box, exact=" ".join(plain(region.text).split())) for region in material.regions]
        for about, boxes in located(self.name, names, pool, answer_all=material.answer_all, dropped=material.dropped):
            yield Draft(self.name, about=about, boxes=boxes)

    def score(self, question: Question, said: str) -> dict[str, float]:
        return box_scores(question, said)
