"""A task of Stage III is one class: what is registered is asked, scored and shown, with nothing to add elsewhere."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from finevit.contracts import Question, Region
from finevit.evaluation.local_metrics import LocalTasks
from finevit.planning.askable import look
from finevit.registry import TASKS, TRANSFORMS
from finevit.tasks.task import PHRASES, Draft, Material, Task, all_tasks, asked_tasks, check_weights, default_weights
from finevit.visualization.answers import AnswerView
from finevit.visualization.stage3 import charts, figures, sections

HOUSE = Region(box=(0.1, 0.2, 0.5, 0.6), phrase="red house")
BIRD = Region(box=(0.6, 0.6, 0.9, 0.9), phrase="bird")


class Side(Task):
    """On which side of the image an object is."""

    templates = ("On which side is {about}?", "Left or right: {about}?")
    need = PHRASES
    scores, protocols, local = ("exact",), ("test/side-v1",), True
    title, measure, figure, wanted = "On which side?", "right where the side is", ("Side", "exact"), "side"

    def drafts(self, material: Material) -> Iterator[Draft]:
        for region in material.objects:
            yield Draft(self.name, about=region.phrase, answer="left" if region.box[0] + region.box[2] < 1 else "right")

    def score(self, question: Question, prediction: str) -> dict[str, float]:
        return {"exact": prediction == question.answer, "unread": prediction not in ("left", "right")}


@pytest.fixture
def side():
    all_tasks()
    TASKS.register_module(name="side", module=Side)
    yield
    del TASKS.module_dict["side"]


def sample(**facts: object) -> dict:
    image, rng = np.zeros((56, 112, 3), np.uint8), np.random.default_rng(3)
    record = {"id": "x", "captions": {"alt": "A house."}, "regions": (HOUSE, BIRD), "facts": facts}
    return {**record, "image": image, "counts": Counter(), "rng": rng}


def asked(**options: object) -> list[Question]:
    return TRANSFORMS.build({"type": "AskQuestions", **options})(sample(counts={"house": 1}))["questions"]


@pytest.mark.usefixtures("side")
def test_a_new_task_is_asked_in_training_and_validation():
    found = asked(task_weights={"side": 1.0})
    assert {(question.task, question.answer) for question in found} == {("side", "left"), ("side", "right")}
    assert {question.text for question in found} <= {each.format(about=o.phrase) for each in Side.templates for o in (HOUSE, BIRD)}
    assert [question.text for question in asked(task_weights={"side": 1.0}, draw=False)] == [
        "On which side is red house?",
        "On which side is bird?",
    ]
    assert check_weights("mixture", {"side": 2}) == {"side": 2.0}
    with pytest.raises(ValueError, match=r"'sid' is no task .did you mean 'side'.*counting, side$"):
        check_weights("mixture", {"sid": 2})


@pytest.mark.usefixtures("side")
def test_a_new_task_that_nobody_asks_for_changes_no_draw():
    with_it, weights = asked(), default_weights()
    del TASKS.module_dict["side"]
    try:
        assert (asked(), default_weights()) == (with_it, weights)
    finally:
        TASKS.register_module(name="side", module=Side)


@pytest.mark.usefixtures("side")
def test_what_a_new_task_needs_is_looked_up_and_told():
    class One(list):
        def describe(self) -> str:
            return "one"

    from finevit.contracts import Record

    record = Record(id="x", image=np.zeros((8, 8, 3), np.uint8), regions=(HOUSE,))
    ask = TRANSFORMS.build({"type": "AskQuestions", "task_weights": {"side": 1.0}})
    seen = look(One([record]), ask, [{"side"}])
    assert "side" in seen.tasks[0]
    assert "regions with a phrase: 1" in seen.told()


@pytest.mark.usefixtures("side")
def test_a_new_task_is_scored_and_shown():
    questions = asked(task_weights={"side": 1.0}, draw=False)
    metric = LocalTasks()
    metric.process(None, [{"id": "x", "questions": questions, "predictions": ["left", "up"]}])
    found = metric.compute_metrics(metric.results)
    assert found == {"side_exact": 0.5, "side_n": 2.0, "parse_failures": 0.5, "local": 0.5}
    assert metric.protocol == "test/side-v1"
    shown = AnswerView("x", "data:,", 2.0, True, [tuple(question) for question in questions], ["left", "up"])
    html = sections([], [shown], {f"stage3/{key}": value for key, value in found.items()}, {})[0].html
    assert "On which side?" in html
    assert "✗ no side in the answer" in html
    assert figures()["side_exact"] == ("Side", "exact")
    assert charts()["Further tasks"] == ["side_exact"]


def test_the_order_of_tasks_is_that_of_before():
    """In which they are drawn and drafted decides what a seed asks for."""
    assert list(asked_tasks()) == ["global_caption", "box2text", "text2box", "box2ocr", "ocr2box", "counting"]
    drafted = sorted(asked_tasks().values(), key=lambda task: task.places.drafted)
    assert [task.name for task in drafted] == ["global_caption", "box2text", "box2ocr", "text2box", "ocr2box", "counting"]
    assert [*all_tasks()][:4] == ["text2box", "ocr2box", "box2ocr", "counting"]
    assert default_weights() == dict.fromkeys(asked_tasks(), 1.0)


def test_a_caption_of_a_region_is_looked_for_in_training_alone():
    told = replace(HOUSE, caption="the house of a baker")
    names = {
        captions: [d.about for d in all_tasks()["text2box"].drafts(Material((told,), captions=captions))] for captions in (0, 1)
    }
    assert names == {0: ["red house"], 1: ["red house", "the house of a baker"]}
