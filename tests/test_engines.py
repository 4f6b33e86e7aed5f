"""Engines of recaptioning as parts: that the checks of their contracts find what is wrong."""

import secrets

import pytest

from finevit.config.validation import _Checker
from finevit.recaption.contracts import Answer, Captioner, Grounder, PhraseExtractor
from finevit.registry import ENGINES
from finevit.testing import check_captioner, check_grounder, check_phrase_extractor

pytestmark = pytest.mark.usefixtures("plugins")


class Says(Captioner):
    """Answers what it is built with."""

    model = "says@1"

    def __init__(self, *, text: str = "a square") -> None:
        self.text = text

    def settings(self):
        return {"text": self.text}

    def answer(self, request):
        if request.pictures[-1].sample_id == "damaged":
            return Answer("unreadable")
        return Answer("ok", self.text)


class Finds(Grounder):
    """Boxes that it is built with."""

    model = "finds@1"

    def __init__(self, *, boxes: list) -> None:
        self.boxes = boxes

    def settings(self):
        return {}

    def answer(self, request):
        return Answer("unreadable") if request.picture.sample_id == "damaged" else Answer("ok", self.boxes)


class Spans(PhraseExtractor):
    """Spans that it is built with."""

    model = "spans@1"

    def __init__(self, *, spans: list) -> None:
        self.spans = spans

    def settings(self):
        return {}

    def answer(self, request):
        return Answer("ok", self.spans if request.text else [])


@pytest.fixture
def registered():
    for each in (Says, Finds):
        ENGINES.register_module(module=each)
    yield
    for each in (Says, Finds):
        ENGINES.module_dict.pop(each.__name__)


def mistakes(passes: dict) -> list[str]:
    checker = _Checker("finevit", ())
    checker.walk("settings", "settings", passes, strict=True)
    return checker.errors


def test_the_config_check_knows_where_engines_stand(registered):
    assert mistakes({"captions": {"captioners": {"a": {"type": "Says", "text": "x"}}, "captioner": {"type": "Says"}}}) == []
    (typo,) = mistakes({"captions": {"captioners": {"a": {"type": "Say"}}}})
    assert typo.startswith("settings.captions.captioners.a.type='Say' is no Captioner (did you mean 'Says'?); FineViT has ")
    (other,) = mistakes({"captions": {"captioner": {"type": "Finds", "boxes": []}}})
    assert other.startswith("settings.captions.captioner.type='Finds' is no Captioner; FineViT has ")
    assert "Finds" not in other.partition("FineViT has")[2]
    assert mistakes({"grounding": {"grounder": {"type": "Finds"}}}) == [
        "settings.grounding.grounder.boxes is missing: Finds needs it"
    ]
    assert mistakes({"captions": {"captioner": {"type": "Says", "text": 3}}}) == ["settings.captions.captioner.text=3: give a text"]


def test_the_checks_find_answers_that_break_the_contract():
    check_captioner(Says())
    with pytest.raises(AssertionError, match="a caption that says nothing"):
        check_captioner(Says(text=" "))
    check_grounder(Finds(boxes=[{"phrase": 0, "box": [0, 0, 0.5, 0.5], "score": 0.5}]))
    with pytest.raises(ValueError, match="it lies outside the image"):
        check_grounder(Finds(boxes=[{"phrase": 0, "box": [0, 0, 50, 50], "score": 0.5}]))
    with pytest.raises(AssertionError, match="phrase 2 is the number of one"):
        check_grounder(Finds(boxes=[{"phrase": 2, "box": [0, 0, 0.5, 0.5], "score": 0.5}]))
    check_phrase_extractor(Spans(spans=[[0, 5], [4, 7]]))
    with pytest.raises(AssertionError, match="spans are sorted"):
        check_phrase_extractor(Spans(spans=[[4, 7], [0, 5]]))
    with pytest.raises(AssertionError, match=r"\[40, 99\] lies in the text"):
        check_phrase_extractor(Spans(spans=[[0, 5], [40, 99]]))


def test_an_engine_that_raises_or_keeps_a_request_is_found():
    class Forgets(Says):
        def answers(self, requests):
            yield from list(super().answers(requests))[1:]

    class Raises(Says):
        def answer(self, request):
            raise RuntimeError("no answer")

    class Random(Says):
        def key(self, request):
            return secrets.token_hex(16)

    with pytest.raises(AssertionError, match="each request is answered once"):
        check_captioner(Forgets())
    with pytest.raises(RuntimeError, match="no answer"):
        check_captioner(Raises())
    with pytest.raises(AssertionError, match="the same request has the same key"):
        check_captioner(Random())
