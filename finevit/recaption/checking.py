"""Checks of the engines' contracts, for the tests of plugin authors; ``finevit.testing`` has them too."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from PIL import Image

from finevit.boxes import check_box
from finevit.contracts import BadSample
from finevit.recaption.contracts import (
    FINAL,
    OK,
    RETRIABLE,
    Captioner,
    CaptionRequest,
    Engine,
    Grounder,
    GroundRequest,
    OCREngine,
    OCRRequest,
    PhraseExtractor,
    PhraseRequest,
    Picture,
    Request,
)


def check_captioner(captioner: Captioner) -> None:
    """Asserts the contract of :class:`~finevit.recaption.contracts.Captioner` on an image, a part, and one that is damaged."""
    whole, part, damaged = _pictures()
    asked = [CaptionRequest("Describe this image.", (whole,)), CaptionRequest("Describe the part.", (whole, part), "It is red.")]
    for value in _values(captioner, Captioner, asked, CaptionRequest("Describe this image.", (damaged,))):
        assert isinstance(value, str), f"a caption is a text, not {value!r}"
        assert value.strip(), "a caption that says nothing is no answer: its status is empty"


def check_phrase_extractor(extractor: PhraseExtractor) -> None:
    """Asserts the contract of :class:`~finevit.recaption.contracts.PhraseExtractor` on two captions and on no text."""
    texts = ["A small red car stands beside a tree.", "The dog’s bowl — “STOP” — and a second bowl."]  # bytes are no characters
    values = _values(extractor, PhraseExtractor, [PhraseRequest(text) for text in texts], PhraseRequest(""))
    for text, spans in zip(texts, values, strict=False):
        assert spans, f"there are noun phrases in {text!r}"
        assert [list(span) for span in sorted(map(tuple, spans))] == spans, f"spans are sorted lists, not {spans}"
        for start, end in spans:
            assert 0 <= start < end <= len(text), f"[{start}, {end}] lies in the text, and is not empty"
            assert text[start:end] == text[start:end].strip(), f"{text[start:end]!r} begins and ends with the phrase"


def check_grounder(grounder: Grounder) -> None:
    """Asserts the contract of :class:`~finevit.recaption.contracts.Grounder` on an image, a part of it, and one that is damaged."""
    whole, part, damaged = _pictures()
    phrases = ("a red square", "a square")
    asked = [GroundRequest(whole, phrases), GroundRequest(part, phrases[:1])]
    for value in _values(grounder, Grounder, asked, GroundRequest(damaged, phrases)):
        for found in value:
            assert sorted(found) == ["box", "phrase", "score"], f"what is found has box, phrase and score, not {sorted(found)}"
            assert found["phrase"] in range(len(phrases)), f"phrase {found['phrase']} is the number of one that was asked for"
            check_box(found["box"])
            assert 0 <= found["score"] <= 1, f"a score lies in [0, 1], not {found['score']}"


def check_ocr_engine(engine: OCREngine) -> None:
    """Asserts the contract of :class:`~finevit.recaption.contracts.OCREngine` on an image, a part, and one that is damaged."""
    whole, part, damaged = _pictures()
    for value in _values(engine, OCREngine, [OCRRequest(whole), OCRRequest(part)], OCRRequest(damaged)):
        for line in value:
            assert sorted(line) == ["quad", "score", "text"], f"a line has quad, score and text, not {sorted(line)}"
            assert line["text"].strip(), "a line has text"
            assert len(line["quad"]) == 8, "a quad is four corners"
            assert all(0 <= side <= 1 for side in line["quad"]), f"corners lie in [0, 1], not {line['quad']}"


def _pictures() -> tuple[Picture, Picture, Picture]:
    """A red square on white, its part at the top left, and one that cannot be decoded."""
    image = Image.new("RGB", (64, 48), "white")
    image.paste("red", (8, 8, 24, 24))
    file = io.BytesIO()
    image.save(file, "PNG")
    return Picture("square", file.getvalue), Picture("square", file.getvalue, (0.0, 0.0, 0.5, 0.5)), Picture("damaged", _damaged)


def _damaged() -> bytes:
    raise BadSample("damaged: it cannot be decoded")


def _values(engine: Engine, contract: type, requests: Sequence[Request], odd: Request) -> list[Any]:
    """What an engine answers, in the order of the requests, without the answers that have none; ``odd`` is answered by a status."""
    assert isinstance(engine, contract), f"{type(engine).__name__} derives from {contract.__name__}"
    assert engine.model, "an engine names its model"
    assert engine.describe(), "describe() says what the engine is"
    assert json.loads(json.dumps(dict(engine.settings()))) == dict(engine.settings()), "settings() are plain JSON"
    keys = [engine.key(request) for request in (*requests, odd)]
    assert keys == [engine.key(request) for request in (*requests, odd)], "the same request has the same key"
    assert len(set(keys)) == len(keys), "different requests have different keys"
    pairs = [(engine.key(request), answer) for request, answer in engine.answers(iter((*requests, odd)))]
    assert Counter(key for key, _ in pairs) == Counter(keys), "each request is answered once"
    answers = dict(pairs)
    for answer in answers.values():
        assert answer.status in (OK, *RETRIABLE, *FINAL), f"status {answer.status!r} is none of contracts.py"
        assert (answer.status == OK) == (answer.value is not None), f"an answer that is {answer.status} and has {answer.value!r}"
        assert json.loads(json.dumps(answer.value)) == answer.value, "a value is plain JSON"
    if not isinstance(odd, PhraseRequest):
        assert answers[keys[-1]].status == "unreadable", f"a damaged image is unreadable, not {answers[keys[-1]].status}"
    values = [answers[key].value for key in keys[:-1] if answers[key].status == OK]
    assert values, f"no request was answered: {[answer.status for answer in answers.values()]}"
    return values
