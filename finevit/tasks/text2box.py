"""Where something is that is named by its phrase, or by its caption (grounding)."""

from collections.abc import Iterator

from finevit.registry import TASKS
from finevit.tasks.names import Name, located, words
from finevit.tasks.task import PHRASES, Draft, GroundingTask, Material, Places


@TASKS.register_module("text2box")
class Text2Box(GroundingTask):
    """A phrase that fits several regions is left out, or answered with all of them."""

    templates = ("Where is {about}?", "Locate {about}.", "Give the box of {about}.", "Find {about} in the image.")
    weight, need, places = 1.0, PHRASES, Places(drawn=2, drafted=3, shown=0)
    title, figure = "Where is it?", ("Words → box", "IoU ≥ 0.5")

    def drafts(self, material: Material) -> Iterator[Draft]:
        names = [region.phrase for region in material.objects]
        names += [region.caption for region in material.objects if material.captions]
        pool = [Name(words(region.phrase), region.box) for region in material.regions]
        pool += [Name(words(region.caption), region.box, caption=True) for region in material.regions]
        for about, boxes in located(self.name, names, pool, answer_all=material.answer_all, dropped=material.dropped):
            yield Draft(self.name, about=about, boxes=boxes)
