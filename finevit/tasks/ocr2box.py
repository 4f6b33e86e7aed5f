"""Where a text is written."""

from collections.abc import Iterator

from finevit.registry import TASKS
from finevit.tasks.names import Name, located, plain, words
from finevit.tasks.task import TEXTS, Draft, GroundingTask, Material, Places


@TASKS.register_module("ocr2box")
class Ocr2Box(GroundingTask):
    """Texts that differ in signs alone are one, and have no sure answer."""

    templates = ("Where is the text “{about}”?", "Locate the words “{about}”.", "Find where it says “{about}”.")
    weight, need, places = 1.0, TEXTS, Places(drawn=4, drafted=4, shown=1)
    title, figure = "Where is this text?", ("Text → its box", "IoU ≥ 0.5")

    def drafts(self, material: Material) -> Iterator[Draft]:
        names = [region.text for region in material.lines]
        pool = [Name(words(region.text), region.box, exact=" ".join(plain(region.text).split())) for region in material.regions]
        for about, boxes in located(self.name, names, pool, answer_all=material.answer_all, dropped=material.dropped):
            yield Draft(self.name, about=about, boxes=boxes)
