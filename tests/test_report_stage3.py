"""The page of Stage III: how answers are judged and ordered, where boxes are drawn, and that a run makes it."""

import json
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from sample_pages import AWKWARD, BELOW, NEAR, Outline, answer_views, questions, stage3_page, where
from test_report import config, decoded

from finevit.contracts import Question, Record, Region, Source
from finevit.evaluation.local_metrics import LocalTasks
from finevit.ops.patches import patchify
from finevit.packing.images import pack_images
from finevit.plugins import load_plugins
from finevit.tasks.task import all_tasks
from finevit.visualization import stage3
from finevit.visualization.answers import DRAWN, POOL, SIDE, AnswerView, Drawn, chosen, collect, judged, ranked
from finevit.visualization.report import render
from finevit.visualization.stage3 import groups, sections, whole


def view(*pairs: tuple[Question, str], name: str = "scene", shown: bool = True) -> AnswerView:
    asked, said = zip(*pairs, strict=True)
    return AnswerView(name, "data:image/jpeg;base64,", 1.5, shown, [tuple(question) for question in asked], list(said))


def count(said: str) -> tuple[Question, str]:
    return Question("counting", f"How many? ({said})", "3"), said


# answers


def test_answers_are_judged_as_the_metric_judges():
    pairs = questions()
    metric = LocalTasks()
    metric.process(
        {}, [{"id": "scene", "questions": [question for question, _ in pairs], "predictions": [said for _, said in pairs]}]
    )
    measured = metric.compute_metrics(metric.results)
    answers = judged([view(*pairs)])
    for answer, same in zip(answers, metric.latest, strict=True):
        assert answer.value == same.scores[answer.score]
        assert answer.unread == bool(same.scores.get("unread"))
        assert (answer.question, answer.prediction) == (same.question, same.prediction)
    for group in groups(answers, {}, {}):
        assert group.share == measured[f"{group.name}_{group.answers[0].score}"]
        assert group.questions == measured[f"{group.name}_n"]


def test_verdicts_mark_what_could_not_be_read():
    verdicts = [answer.verdict for answer in judged([view(*questions())])]
    assert verdicts[:5] == ["✓ right", "✗ wrong", "✗ no valid box in the answer", "✓ right", "✗ no valid box in the answer"]
    assert verdicts[6:11] == ["✓ right", "✗ wrong", "✓ right", "✗ no number in the answer", "✗ no number in the answer"]
    assert verdicts[11] == "≈ ROUGE-L 0.67"
    assert [answer.tone for answer in judged([view(*questions())])][9:12] == ["bad", "bad", "fair"]


def test_boxes_are_drawn_where_they_are():
    right, wrong, unread, several = judged([view(*questions())])[:4]
    assert wrong.drawn[0] == Drawn("true", 25, 10, *map(pytest.approx, (30, 50)))
    assert wrong.drawn[1] == Drawn("predicted", 25, 50, *map(pytest.approx, (30, 50)))
    assert [box.kind for box in several.drawn] == ["true", "true", "predicted", "predicted"]
    assert (right.overlap, unread.overlap, several.overlap) == (pytest.approx(1), None, None)
    assert wrong.overlap == pytest.approx(0.1 / 0.9)
    named, counted = judged([view(questions()[6], questions()[8])])
    assert named.drawn == [Drawn("named", 70, 60, *map(pytest.approx, (25, 30)))]
    assert counted.drawn == []
    many = judged([view((where("text2box", "it", NEAR), "[1, 2, 30, 40]" * 99))])[0]
    assert len(many.drawn) == 1 + DRAWN


def test_a_box_in_the_page_has_its_percentages():
    html = sections([], [view((where("text2box", "it", BELOW), "[700, 600, 950, 900]"))], {}, {})[0].html
    assert 'class="true over" x="25.0%" y="50.0%" width="30.0%" height="50.0%"' in html
    assert 'class="predicted over" x="70.0%" y="60.0%" width="25.0%" height="30.0%"' in html


def test_failures_come_first_and_of_them_the_unread():
    order = [answer.prediction for answer in ranked(judged([view(*map(count, ("3", "2", "many", "three", "4")))]))]
    assert order == ["many", "2", "4", "3", "three"]
    halves = Question("global_caption", "What is it?", "a red house")
    order = [answer.prediction for answer in ranked(judged([view(*((halves, said) for said in ("a house", "red", "sea")))]))]
    assert order == ["sea", "red", "a house"]


SHOWN = [(20, 20, (6, 3)), (2, 20, (2, 7)), (20, 1, (8, 1)), (0, 20, (0, 9)), (1, 2, (1, 2))]


@pytest.mark.parametrize(("failed", "right", "shown"), SHOWN)
def test_both_failures_and_successes_are_shown(failed, right, shown):
    found = [answer.value for answer in chosen(judged([view(*map(count, ["2"] * failed + ["3"] * right))]), 9)]
    assert (found.count(0), found.count(1)) == shown
    assert found == sorted(found)


def test_shown_failures_are_spread_over_all():
    shown = chosen(judged([view(*(count(f"{i} of them") for i in range(10, 50)))]), 4)
    assert [answer.prediction for answer in shown] == [f"{i} of them" for i in (10, 20, 30, 40)]


def test_images_are_ordered_by_their_mean_and_only_the_first_are_shown_whole():
    views = [view(count("3"), name="good"), view(count("1"), count("3"), name="half"), view(count("2"), name="bad")]
    assert [asked[0].view.id for asked in whole(judged(views))] == ["bad", "half", "good"]
    assert [answer.prediction for answer in whole(judged(views))[1]] == ["1", "3"]
    assert whole(judged([views[0]._replace(whole=False)])) == []


def test_shares_are_the_metrics_where_it_measured():
    measured, untrained = {"stage3/counting_exact": 0.25, "stage3/counting_n": 400.0}, {"stage3/counting_exact": 0.125}
    (group,) = groups(judged([view(count("3"))]), measured, untrained)
    assert (group.share, group.untrained, group.questions) == (0.25, 0.125, 400)
    (group,) = groups(judged([view(count("3"))]), {}, {})
    assert (group.share, group.untrained, group.questions) == (1, None, 1)


def test_every_task_of_the_metric_has_a_title():
    assert all(task.title and task.measure and task.figure and task.scores and task.protocols for task in all_tasks().values())


def test_views_hold_plain_values_and_small_pictures(tmp_path):
    views: list[AnswerView] = []
    question = where("text2box", "it", NEAR)._replace(boxes=(tuple(np.float64(value) for value in NEAR),), size=(np.int64(2), 3))
    batch = pack_images([patchify(np.zeros((28, 700, 3), np.uint8), 14)], [(2, 50)])
    for index in range(POOL + 2):
        collect(views, batch, [{"id": index, "questions": [tuple(question)], "predictions": ["x"]}], 2)
    assert len(views) == POOL
    assert [shown.whole for shown in views[:4]] == [True, True, False, False]
    assert decoded(views[0].picture).shape == (13, SIDE, 3)
    assert (views[0].ratio, views[0].predictions) == (25, ["x"])
    torch.save([shown._asdict() for shown in views], tmp_path / "views.pt")
    restored = [AnswerView(**values) for values in torch.load(tmp_path / "views.pt")]
    assert restored == views
    assert judged(restored, [restored[0]._replace(predictions=["once"])])[0].untrained == "once"


# page


def test_page_tells_the_figures(tmp_path):
    page = stage3_page(tmp_path)
    figures = {figure.label: (figure.value, figure.note) for figure in page.figures}
    assert figures["Local mean"] == ("85.9%", "boxes, texts and numbers; untrained 7.8%")
    assert figures["Parse failures"] == ("15.6%", "no box or number in the answer; untrained 93.8%")
    assert figures["Words → box"] == ("84.4%", "IoU ≥ 0.5; untrained 6.2%; 48\N{NO-BREAK SPACE}questions")
    assert figures["Box → its text"] == ("86.4%", "exact; untrained 8.2%; 24\N{NO-BREAK SPACE}questions")
    assert figures["Counting"] == ("87.4%", "exact; untrained 9.2%; 36\N{NO-BREAK SPACE}questions")
    assert [chart.title for chart in page.charts] == [
        "Loss",
        "Token accuracy in training",
        "Boxes, texts and numbers",
        "Descriptions, ROUGE-L",
        "Local mean and parse failures",
        "Learning rate",
    ]
    assert [section.title for section in page.sections] == ["Task by task", "Image by image"]


def test_page_is_one_small_balanced_file_that_loads_nothing(tmp_path):
    html = render(stage3_page(tmp_path))
    outline = Outline(html)
    for text in ("84.4%", "local/iou50-v2", "12 scenes", AWKWARD, "“<b>Open</b>”", "(nothing)", "IoU 0.11", "9 of 48 questions"):
        assert text in outline.text
    assert "<b>Open" not in html
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|<script", re.sub(r"base64,[A-Za-z0-9+/=]+", "", html))
    assert all(target.startswith(("data:image/", "#")) for target in outline.loads)
    assert outline.tags.count("article") == outline.tags.count("img") == 6 * 9 + 3
    assert len(html.encode()) < 3_000_000


def test_an_answer_that_never_ends_is_cut():
    html = sections([], [view((where("text2box", "it", NEAR), "word " * 100_000))], {}, {})[0].html
    assert len(html) < 10_000
    assert '<details class="caption"' in html


def test_a_run_without_answers_or_metrics_has_a_page(tmp_path):
    assert sections([], [], {}, {}) == []
    assert stage3.quality({}, {}) == []
    assert "untrained" not in sections([], answer_views(2), {}, {})[0].html


# hook


class Colours(Source):
    """Plain images of a colour and with a square."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Record:
        image = np.full((56, 56, 3), (12 * index, 255 - 12 * index, 60 * (index % 4)), np.uint8)
        region = Region(box=(0.0, 0.25, 0.5, 0.75), phrase=f"square {index}")
        return Record(
            id=f"colour-{index}",
            image=image,
            captions={"long": f"{index} squares"},
            regions=(region,),
            facts={"counts": {"square": 1}},
        )

    def describe(self) -> str:
        return "20 plain colours"


def test_a_run_of_stage_three_makes_its_page(tmp_path):
    settings = config(tmp_path / "run", report=True, steps=4)
    llama = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    settings["model"] = {
        "type": "LLMAlignment",
        "backbone": {"type": "FineViT", "arch": {"depth": 1, "dim": 32, "heads": 2, "mlp_dim": 64}},
        "connector": {"type": "MergeConnector", "mlp_dim": 32},
        "llm": {"type": "HuggingFaceLLM", "tokenizer": "scenes-chat", "config": {**llama, "max_position_embeddings": 512}},
        "answer_length": 8,
    }
    for name in ("train_dataloader", "val_dataloader"):
        steps = [{"type": "ResizeToBudget"}, {"type": "AskQuestions", "draw": False}, {"type": "Patchify"}]
        steps.append({"type": "TokenizeDialogue", "tokenizer": "scenes-chat"})
        settings[name]["dataset"] = {"type": "NativeImages", "source": Colours(), "transforms": steps, "max_seq_len": 256}
        settings[name]["collate_fn"] = {"type": "finevit.pack_dialogues", "keys": ["questions"]}
    length = {"type": "Constant", "value": 256}
    settings["train_dataloader"]["batch_sampler"]["schedules"] = {"TokenizeDialogue": {"max_seq_len": length}}
    settings["val_evaluator"] = [{"type": "LocalTasks"}]
    load_plugins()
    Runner(**settings, cfg=Config({"config": "of the test"})).train()
    outline = Outline((tmp_path / "run/report.html").read_text())
    for text in ("FineViT, Stage III", "Parse failures", "20 plain colours", "Where is square 2?", "untrained", "Token accuracy"):
        assert text in outline.text
    evaluations = json.loads((tmp_path / "run/results.json").read_text())["evaluations"]
    assert evaluations[0]["iteration"] == 0
    assert evaluations[-1]["stage3/counting_n"] == 40  # each colour, and all objects
