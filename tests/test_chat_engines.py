"""Phrases with spans and boxes in styles, asked of a language model by structured output: what is taken, moved and dropped."""

import json

import pytest
from fault_server import FaultServer, serving
from finevit_plugins.grounders.openai import OpenAIGrounder
from finevit_plugins.phrase_extractors.openai import OpenAIPhraseExtractor
from test_chat_client import FAST, PNG, png

from finevit.boxes import STYLES, render
from finevit.recaption.contracts import GroundRequest, PhraseRequest, Picture
from finevit.recaption.spans import spans_of
from finevit.testing import check_grounder, check_phrase_extractor

TEXT = "A container with a container number. “A cat” is written on the container, and a cat’s bowl is beside it."


def at(phrase: str, start: int) -> dict:
    return {"phrase": phrase, "start": start, "end": start + len(phrase)}


def test_right_spans_are_taken_and_wrong_ones_moved_to_the_only_other_place():
    right = [at("A container", 0), at("a container number", TEXT.index("a container number"))]
    wrong = [at("the container", 3), at("a cat’s bowl", 0)]
    found = spans_of(TEXT, right + wrong)
    assert [TEXT[start:end] for start, end in found.spans] == ["A container", "a container number", "the container", "a cat’s bowl"]
    assert (found.moved, found.dropped, found.detail) == (2, 0, "2 spans moved")


def test_what_stands_nowhere_or_in_several_places_is_dropped_and_counted():
    found = spans_of("a dog and a dog and a dog", [at("a dog", 0), at("a dog", 2), at("a bird", 0), {"phrase": 3}, "x", None])
    assert found.spans == [(0, 5)]
    assert found.detail == "5 spans dropped"
    twice = spans_of("a dog and a dog", [at("a dog", 0), at("a dog", 1)])  # one other place that nothing takes
    assert (twice.spans, twice.moved) == ([(0, 5), (10, 15)], 1)


def test_a_phrase_is_found_as_whole_words_and_whatever_its_case():
    assert spans_of("A cathedral and A Cat.", [at("a cat", 1)]).spans == [(16, 21)]
    assert spans_of("A cathedral.", [at("A cat", 1)]).spans == []
    assert spans_of("a dog", [at("a dog", 0), at("a dog", 0)]).spans == [(0, 5)]


def says_phrases(body: dict) -> str:
    text = body["messages"][0]["content"][-1]["text"]
    words = [each for each in text.split() if each.isalpha()] if len(body["messages"][0]["content"]) == 2 else []
    return json.dumps({"phrases": [at(word, 0) for word in words]})


def test_phrases_come_by_a_schema_with_their_spans():
    with serving(FaultServer(says=says_phrases)) as server:
        engine = OpenAIPhraseExtractor(base_url=server.url, model="llm", client=FAST)
        check_phrase_extractor(engine)
        answer = engine.answer(PhraseRequest("dogs chase grey cats and cats"))
    assert answer[:3] == ("ok", [[0, 4], [5, 10], [11, 15], [16, 20], [21, 24], [25, 29]], "5 spans moved")
    assert server.order[-1]["response_format"]["json_schema"]["schema"]["properties"]["phrases"]["items"]["required"] == [
        "phrase",
        "start",
        "end",
    ]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("no phrases here", "unusable"),
        ('{"phrases": 3}', "unusable"),
        ("I'm sorry, but I can't do that.", "refused"),
        ('```json\n[{"phrase": "dogs", "start": 0, "end": 4}]\n```', "ok"),
        ('{"phrases": []}', "ok"),
    ],
)
def test_answers_of_another_form_are_told_apart(text, status):
    with serving(FaultServer(says=lambda body: text)) as server:
        answer = OpenAIPhraseExtractor(base_url=server.url, model="llm", client=FAST).answer(PhraseRequest("dogs"))
    assert answer.status == status
    with serving(FaultServer({"truncated": 1.0}, says=lambda body: '{"phrases": [{"phrase": "dogs"')) as server:
        answer = OpenAIPhraseExtractor(base_url=server.url, model="llm", client=FAST).answer(PhraseRequest("dogs"))
    assert answer.status == "truncated"


BOX = (0.1, 0.2, 0.5, 0.6)


def boxed(style: str, *labels: str):
    """Says one box for each label, as the style has it: a list of numbers, or a text."""
    written = render([BOX], style, (200, 100))
    box = json.loads(written) if written.startswith("[") else written
    return lambda body: json.dumps({"boxes": [{"bbox_2d": box, "label": label} for label in labels]})


@pytest.mark.parametrize("style", STYLES)
def test_boxes_are_read_in_their_style(style):
    image = Picture("a", lambda: png(100))
    with serving(FaultServer(says=boxed(style, "a red square"))) as server:
        engine = OpenAIGrounder(base_url=server.url, model="vlm", style=style, client=FAST)
        if style == "abs_resized":
            engine._sent_size = lambda request: (200, 100)
        else:
            check_grounder(engine)
        answer = engine.answer(GroundRequest(image, ("a square", "a red square")))
    (found,) = answer.value
    assert (answer.status, found["phrase"], found["score"]) == ("ok", 1, 1.0)
    assert found["box"] == pytest.approx(BOX, abs=0.011 if style == "bins100" else 0.002)


def test_pixels_are_those_of_the_image_that_was_sent():
    with serving(FaultServer(says=lambda body: '[{"bbox_2d": [8, 0, 16, 32], "label": "x"}]')) as server:
        engine = OpenAIGrounder(base_url=server.url, model="vlm", style="abs_resized", max_pixels=1024, client=FAST)
        answer = engine.answer(GroundRequest(Picture("a", lambda: png(64)), ("x",)))
    assert answer.value == [{"phrase": 0, "box": [0.25, 0.0, 0.5, 1.0], "score": 1.0}]


def test_labels_that_nobody_asked_for_and_boxes_that_are_none_are_dropped_and_counted_and_duplicates_stay():
    items = [
        {"bbox_2d": [100, 200, 500, 600], "label": "a dog"},
        {"bbox_2d": [100, 200, 500, 600], "label": "a dog"},
        {"bbox_2d": [0, 0, 10.0, 10], "label": " A  Dog"},
        {"bbox_2d": [100, 200, 500, 600], "label": "a unicorn"},
        {"bbox_2d": [500, 200, 100, 600], "label": "a dog"},
        {"bbox_2d": [0, 0, 1200, 600], "label": "a dog"},
        {"label": "a dog"},
        "a dog",
    ]
    with serving(FaultServer(says=lambda body: json.dumps({"boxes": items}))) as server:
        engine = OpenAIGrounder(base_url=server.url, model="vlm", client=FAST)
        answer = engine.answer(GroundRequest(Picture("a", lambda: PNG), ("a cat", "a dog")))
    assert answer.status == "ok"
    assert [found["box"] for found in answer.value] == [[0.1, 0.2, 0.5, 0.6], [0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 0.01, 0.01]]
    assert {found["phrase"] for found in answer.value} == {1}
    assert answer.detail == "1 labels that were not asked for dropped, 4 boxes that cannot be read dropped"
    assert json.loads(server.order[0]["messages"][0]["content"][-1]["text"]) == ["a cat", "a dog"]


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="box style 'norm100' is unknown"):
        OpenAIGrounder(base_url="http://host/v1", model="vlm", style="norm100")
