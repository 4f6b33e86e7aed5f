"""The stand-in endpoint: what it says is true, or false as often as it was told; it knows its images; it fails as it was told."""

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from random import Random

import cv2
import httpx
import numpy as np
import pytest
import uvicorn
from finevit_plugins.captioners.openai import OpenAICaptioner
from finevit_plugins.grounders.openai import OpenAIGrounder
from finevit_plugins.phrase_extractors.openai import OpenAIPhraseExtractor
from starlette.testclient import TestClient

from finevit.boxes import render
from finevit.recaption import prompts
from finevit.recaption.contracts import CaptionRequest, GroundRequest, PhraseRequest, Picture
from finevit.scenes import Scenes
from finevit.scenes.backgrounds import COLOURS
from finevit.scenes.stand_in import backdrops, faults, signs, wording
from finevit.scenes.stand_in.album import Album
from finevit.scenes.stand_in.answers import Answerer
from finevit.scenes.stand_in.app import Behaviour, make_app
from finevit.scenes.stand_in.perception import impair, perceive
from finevit.scenes.stand_in.phrases import spans
from finevit.scenes.stand_in.speech import FEWEST_WORDS, MOST_WORDS, Speaker
from finevit.scenes.stand_in.told import read_truth
from finevit.scenes.stand_in.witness import Manner, SceneWitness, ToldWitness, overlap
from finevit.scenes.vocabulary import all_things, plural


@pytest.fixture(scope="module")
def scenes():
    return Scenes(level="easy", length=24)


@pytest.fixture(scope="module")
def album(scenes, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return Album(scenes, signs.signs_of(scenes))


# A parser of the voices' own sentences: what they claim, as (kind, values).


def either(words):
    return "|".join(map(re.escape, sorted(words, key=lambda word: -len(word))))


def words_of(table):
    return either(word for words in table.values() for word in words)


NAMES = {thing.name for thing in all_things()}
NOUN = rf"(?:an? )?(?:(?P<size>{words_of(wording.SIZES)}) )?(?:(?P<colour>{either(COLOURS)}) )?(?P<name>{either(NAMES)})"
FIELDS = {
    "a_noun": NOUN,
    "place": f"(?P<place>{words_of(wording.PLACES)})",
    "details": "(?P<details>(?:, [^.:]+)?)",
    "text": '(?P<text>[^"]+)',
    "ink": r"(?P<ink>[a-z]+)",
    "font": r"(?P<font>[a-z -]+)",
    "back": "(?P<back>.+?)",
    "things": ".+?",
    "picture": either(wording.PICTURES),
    "count": f"(?P<count>{either(wording.NUMBERS)})",
    "items": "items?",
    "plural": f"(?P<plural>(?:(?:{either(COLOURS)}) )?(?:{either(map(plural, NAMES))}))",
    "the_noun": f"the (?P<largest>(?:(?:{either(COLOURS)}) )?(?:{either(NAMES)}))",
    "corner": "(?P<corner>(?:top|bottom) (?:left|right))",
    "names": "(?P<names>.+)",
    "ratio": r"(?P<ratio>\d\.\d)",
    "light": f"(?P<light>{either(wording.LIGHTS.values())})",
    "format": f"(?P<format>{either(wording.FORMATS.values())})",
    "be": "is|are",
    "s": "s?",
    "cover": "covers?",
    "a": "the (?P<one>.+?)",
    "b": "the (?P<other>.+?)",
}


def pattern(template):
    parts = re.split(r"\{(\w+)\}", template)
    text = "".join(f"(?:{FIELDS[part.lower()]})" if at % 2 else re.escape(part) for at, part in enumerate(parts))
    return re.compile(text, re.IGNORECASE)


GENERAL = [("object", pattern(one)) for one in wording.NOWHERE["object"]] + [
    ("line", pattern(one)) for one in wording.NOWHERE["line"]
]
GENERAL += [(kind, pattern(one)) for kind, ones in wording.RELATIONS.items() for one in ones]
PATTERNS = {
    name: [*((kind, pattern(one)) for kind, ones in voice.templates.items() for one in ones), *GENERAL]
    for name, voice in wording.VOICES.items()
}
COLOUR, STARTS, STOPS = either(COLOURS), *(either(words) for words in zip(*backdrops.ENDS.values(), strict=True))
PARTS = {"first": COLOUR, "second": COLOUR, "start": STARTS, "end": STOPS, "direction": either(backdrops.STRIPES)}


def backdrop_pattern(template, texture):
    parts = re.split(r"\{(\w+)\}", template.replace("a {", "an? {"))
    fields = {**PARTS, "first": ".+"} if texture == "photograph" else PARTS
    return re.compile("".join(f"(?P<{part}>{fields[part]})" if at % 2 else part for at, part in enumerate(parts)))


BACKS = [(texture, backdrop_pattern(one, texture)) for texture, ones in backdrops.BACKDROPS.items() for one in ones]


def parsed(caption, model):
    for sentence in re.split(r"(?<=\.) (?=[A-Z])", caption):
        found = [(kind, match.groupdict()) for kind, each in PATTERNS[model] if (match := each.fullmatch(sentence))]
        assert found, f"{model} says what its templates cannot say: {sentence}"
        yield found[0]


def key_of(table, word):
    return next(key for key, words in table.items() if word.lower() in words)


def best(claims, candidates):
    """Which of the claimed attributes hold of the candidate of which most do."""
    held = [[getattr(one, name) == value for name, value in claims.items()] for one in candidates]
    return max(held, key=sum, default=[False] * len(claims))


def verdicts(kind, said, seen):
    """For each fact that a sentence claims, whether it is true of what a flawless eye sees."""
    nouns = Counter(item.noun for item in seen.items)
    if kind == "object":
        claims = {"name": said["name"].lower()} | ({"colour": said["colour"].lower()} if said["colour"] else {})
        claims |= {"place": key_of(wording.PLACES, said["place"])} if said.get("place") else {}
        claims |= {"size": key_of(wording.SIZES, said["size"])} if said["size"] else {}
        extras = said["details"].split(", ")
        for field, table in (("pose", wording.POSES), ("cover", wording.COVERS)):
            claims.update((field, key) for key, word in table.items() if word in extras)
        return best(claims, seen.items)
    if kind == "line":
        place = {"place": key_of(wording.PLACES, said["place"])} if said.get("place") else {}
        told = {name: said.get(name) for name in ("text", "ink", "font") if said.get(name) not in (None, "coloured", "printed")}
        return best({**told, **place}, seen.words)
    if kind == "frame":
        texture, parts = next((texture, match.groupdict()) for texture, each in BACKS if (match := each.fullmatch(said["back"])))
        starts = {start: name for name, (start, _) in backdrops.ENDS.items()}
        if start := parts.pop("start", ""):
            parts["direction"] = starts[start]
        parts.pop("end", "")
        back = seen.backdrop
        return [texture == back.texture, *(value == getattr(back, name) for name, value in parts.items())] if texture else []
    if kind in wording.RELATIONS:
        return [(said["one"].lower(), kind, said["other"].lower()) in seen.relations]
    simple = {
        "total": lambda: wording.NUMBERS[seen.total] == said["count"].lower(),
        "count": lambda: (
            wording.NUMBERS[nouns[{plural(noun): noun for noun in nouns}.get(said["plural"].lower(), "")]] == said["count"].lower()
        ),
        "largest": lambda: said["largest"].lower() == seen.largest,
        "light": lambda: said["light"] == wording.LIGHTS.get(seen.light),
        "format": lambda: said["format"] == wording.FORMATS[seen.shape],
        "ratio": lambda: said["ratio"] == seen.ratio,
        "empty": lambda: said["corner"] in seen.empty,
        "no text": lambda: not seen.words,
    }
    if kind == "absent":
        plurals = {plural(item.name) for item in seen.items}
        return [name not in plurals for name in re.split(", | and ", said["names"])]
    return [simple[kind]()]


def judged(scenes, model, *, noise, omissions=0.0):
    """All verdicts on captions of the scenes."""
    found = []
    for index in range(len(scenes)):
        seen, random = perceive(scenes.look(index)[1]), Random(index)
        flawed = impair(seen, noise=noise, omissions=omissions, names=scenes.classes, random=random)
        for kind, said in parsed(Speaker(wording.VOICES[model], flawed, random).dense(), model):
            found += verdicts(kind, said, seen)
    return found


@pytest.mark.parametrize("model", wording.VOICES)
def test_without_noise_every_fact_of_a_caption_is_true(scenes, model):
    found = judged(scenes, model, noise=0.0)
    assert all(found)
    assert len(found) > 15 * len(scenes)


@pytest.mark.parametrize("model", wording.VOICES)
def test_of_30_percent_noise_30_percent_of_the_facts_are_false(scenes, model):
    found = judged(scenes, model, noise=0.3)
    assert 0.22 < found.count(False) / len(found) < 0.35  # of two objects alike, the one that fits better counts


def test_omissions_leave_out_their_share_and_add_nothing_false(scenes):
    whole, some = (judged(scenes, "stand-in-a", noise=0.0, omissions=share) for share in (0.0, 0.5))
    assert all(some)
    assert len(some) < 0.75 * len(whole)


@pytest.mark.parametrize("level", ["easy", "medium", "hard"])
def test_dense_captions_have_60_to_250_words_and_short_ones_a_sentence(level):
    scenes = Scenes(level=level, length=24 if level == "easy" else 4)
    for index in range(len(scenes)):
        seen = perceive(scenes.look(index)[1])
        for model, voice in wording.VOICES.items():
            speaker = Speaker(voice, seen, Random(index))
            assert FEWEST_WORDS <= len(speaker.dense().split()) <= MOST_WORDS, (level, index, model)
            assert len(speaker.short().split()) < 45


def test_no_sentence_of_the_truth_is_said(scenes):
    truth = {sentence for index in range(len(scenes)) for sentence in scenes[index].captions["long"].split(". ")}
    for index in range(len(scenes)):
        for voice in wording.VOICES.values():
            said = Speaker(voice, perceive(scenes.look(index)[1]), Random(index)).dense()
            assert not truth & set(said.split(". "))


# Requests


def png(pixels):
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def body(*texts, image=None, model="stand-in-a", schema=None, **more):
    parts = [{"type": "text", "text": text} for text in texts]
    if image is not None:
        url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
        parts = [{"type": "image_url", "image_url": {"url": url}}, *parts]
    shaped = {} if schema is None else {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}}
    return {"model": model, "messages": [{"role": "user", "content": parts}], **shaped, **more}


def client(album, *, manner=None, seed=0, **behaviour):
    return TestClient(make_app(Answerer(album, manner=manner or Manner(), seed=seed), Behaviour(**behaviour)))


def content(response):
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def ask_of(image, endpoint, *texts, **more):
    return content(endpoint.post("/v1/chat/completions", json=body(*texts, image=image, **more)))


def test_an_image_is_known_by_its_pixels_or_by_how_it_looks(scenes, album):
    image = scenes[3].image
    small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    with client(album) as endpoint:
        said = [
            content(endpoint.post("/v1/chat/completions", json=body("Describe it.", image=each)))
            for each in (png(image), jpeg, png(small))
        ]
        noise = np.random.default_rng(0).integers(0, 255, image.shape, np.uint8)
        unknown = endpoint.post("/v1/chat/completions", json=body("Describe it.", image=png(noise)))
    truth = perceive(scenes.look(3)[1])
    for text in said:
        found = [verdict for kind, values in parsed(text, "stand-in-a") for verdict in verdicts(kind, values, truth)]
        assert found
        assert all(found)
    assert unknown.status_code == 400
    assert "does not know the image" in unknown.json()["error"]["message"]


def test_captions_follow_model_prompt_and_seed(scenes, album):
    image = png(scenes[0].image)
    ask = partial(ask_of, image)
    with client(album) as one, client(album) as same, client(album, seed=1) as other:
        long = ask(one, "Describe the image in detail.")
        assert long == ask(same, "Describe the image in detail.") != ask(other, "Describe the image in detail.")
        assert ask(one, "Describe the image in one sentence.").count(".") == 1
        assert ask(one, "Name the main subject of the image.") == "a butterfly"
        for model in wording.VOICES:
            assert list(parsed(ask(one, "Describe the image in detail.", model=model), model))
        cut = one.post("/v1/chat/completions", json=body("Describe the image in detail.", image=image, max_tokens=20)).json()
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] <= 20


def test_a_region_is_told_by_what_is_in_its_box_and_found_again_by_what_was_told(scenes, album):
    with client(album) as endpoint:
        for index in range(8):
            record, image = scenes[index], png(scenes[index].image)
            objects = [region for region in record.regions if region.kind == "object"]
            for region in objects:
                box = [round(1000 * side) for side in region.box]
                told = content(endpoint.post("/v1/chat/completions", json=body("Describe the region.", f"Box: {box}", image=image)))
                assert region.phrase in told
                schema = {"type": "array", "items": {"properties": {"bbox_2d": {}, "label": {}}}}
                asked = body(f"Locate these, as bbox_2d: {json.dumps([told])}", image=image, schema=schema)
                found = json.loads(content(endpoint.post("/v1/chat/completions", json=asked)))
                assert box in [one["bbox_2d"] for one in found]
                if len([other for other in objects if other.phrase == region.phrase]) == 1:
                    assert found == [{"bbox_2d": box, "label": told}]


def test_boxes_without_noise_are_the_true_ones_and_with_noise_are_not(scenes):
    exact, shaken = Manner(), Manner(boxes_noise=0.1)
    for index in range(len(scenes)):
        record, witness = scenes[index], SceneWitness(scenes.look(index)[1], scenes.classes)
        for region in record.regions:
            phrase = region.phrase if region.kind == "object" else f'the text "{region.text}"'
            found = witness.boxes(phrase, exact, Random(0))
            assert max(overlap(box, region.box) for box in found) == 1.0
            noisy = max(overlap(box, region.box) for box in witness.boxes(phrase, shaken, Random(index)))
            assert 0.3 < noisy < 1.0
        assert witness.boxes("a zebra crossing", exact, Random(0)) == []
    assert witness.boxes(record.regions[0].phrase, Manner(omissions=1.0), Random(0)) == []


def test_phrases_come_with_their_spans_in_the_shape_that_is_asked_for(album):
    caption = 'A big red square, two turtles and the word "Container number" beside a container.'
    item = {"type": "object", "properties": {"phrase": {}, "start": {}, "end": {}}}
    schema = {"type": "object", "properties": {"phrases": {"type": "array", "items": item}}}
    with client(album) as endpoint:
        told = content(endpoint.post("/v1/chat/completions", json=body("List the noun phrases.", caption, schema=schema)))
    found = json.loads(told)["phrases"]
    assert [one["phrase"] for one in found] == ["big red square", "turtles", '"Container number"']
    assert all(caption[one["start"] : one["end"]] == one["phrase"] for one in found)
    assert spans("a glowing star", ["star"]) == [(2, 14)]


def test_faults_come_at_their_rate_of_all_kinds_and_anew_for_each_attempt():
    image = png(np.full((4, 4, 3), 99, np.uint8))
    album = Album(None, None, {hashlib.sha256(image).hexdigest(): ToldWitness(captions={"x": "A grey wall with a dog."})})
    with client(album, faults=0.5, hang_s=0.0) as one, client(album, faults=0.5, hang_s=0.0) as same:
        one.raise_server_exceptions = False
        seen = []
        for endpoint in (one, same):
            asked = [body(f"Describe {number}.", image=image, max_tokens=400) for number in range(60) for _ in range(4)]
            seen.append([_outcome(endpoint, each) for each in asked])
        told = one.get("/stats").json()
    assert seen[0] == seen[1]
    failed = sum(told["faults"].values())
    assert 0.4 < failed / 240 < 0.6
    assert set(told["faults"]) == set(faults.KINDS)
    assert any(len(set(seen[0][start : start + 4])) > 1 for start in range(0, 240, 4))
    assert told["requests"] == 240
    assert told["distinct"] == 60
    paid = [number for number, outcome in enumerate(seen[0]) if outcome.startswith("200")]
    assert told["paid"] == len(paid)
    assert told["paid_again"] == len(paid) - len({number // 4 for number in paid})


def _outcome(endpoint, asked):
    try:
        response = endpoint.post("/v1/chat/completions", json=asked)
        choice = response.json()["choices"][0]
    except (KeyError, ValueError):
        return "no completion"
    except Exception as error:  # a dropped connection
        return type(error).__name__
    return f"{response.status_code} {choice['finish_reason']} {str(choice['message']['content'])[:20]}"


def test_each_fault_is_what_it_says(album):
    assert faults.failed("429").headers["Retry-After"] == "0"
    assert [faults.failed(kind).status_code for kind in ("400", "429", "500")] == [400, 429, 500]
    assert faults.failed("non_json").body.startswith(b"<html>")
    assert faults.failed("") is faults.failed("refusal") is None
    text = "A red square is located in the middle of it."
    assert faults.spoilt("truncation", text, 99) == (text[:22], "", "length")
    assert faults.spoilt("refusal", text, 99) == (faults.REFUSAL, "", "stop")
    assert faults.spoilt("empty", text, 99) == ("", "", "stop")
    assert faults.spoilt("reasoning", text, 99)[0] is None
    loop, _, reason = faults.spoilt("loop", text, 99)
    assert loop.count("A red square is located in") == 12
    assert reason == "length"


@contextmanager
def serving(app):
    """The address of an application on a socket."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join()


def test_a_dropped_connection_breaks_off_on_the_wire(scenes, album):
    app = make_app(Answerer(album, manner=Manner()), Behaviour(faults=1.0, kinds=("dropped",)))
    with serving(app) as url, pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{url}/chat/completions", json=body("A", image=png(scenes[0].image)))


def test_the_engines_of_recaptioning_understand_it(scenes, album):
    record = scenes[1]
    picture = Picture("a" * 32, lambda: png(record.image))
    with serving(make_app(Answerer(album, manner=Manner()), Behaviour())) as url:
        asked = {"base_url": url, "model": "stand-in-b"}
        caption = OpenAICaptioner(**asked).answer(CaptionRequest(prompts.DENSE, (picture,)))
        short = OpenAICaptioner(**asked).answer(CaptionRequest(prompts.SHORT, (picture,)))
        phrases = OpenAIPhraseExtractor(**asked).answer(PhraseRequest(caption.value))
        named = tuple(dict.fromkeys(caption.value[begin:end] for begin, end in phrases.value))
        found = OpenAIGrounder(**asked).answer(GroundRequest(picture, named))
        region = record.regions[0]
        suffix = prompts.LOCAL_SUFFIX.replace("{box}", render([region.box], "norm1000", (0, 0)))
        part = Picture("a" * 32, picture.read, region.box)
        local = OpenAICaptioner(**asked).answer(CaptionRequest(prompts.LOCAL, (picture, part), suffix))
    assert {answer.status for answer in (caption, short, phrases, found, local)} == {"ok"}
    assert len(short.value.split()) < 30 < len(caption.value.split())
    assert local.value.lower().split(".")[0].endswith(region.phrase) or f"{region.phrase}," in local.value
    assert not found.detail
    boxes = [one["box"] for one in found.value]
    for region in record.regions:
        assert max(overlap(box, region.box) for box in boxes) > 0.97  # of thousandths


def test_scenes_are_drawn_once_and_drawn_again_where_they_changed(scenes, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    drawn = []
    look = Scenes.look
    monkeypatch.setattr(Scenes, "look", lambda self, index: (drawn.append(index), look(self, index))[1])
    first = signs.signs_of(scenes)
    assert len(drawn) == len(scenes)
    again = signs.signs_of(scenes)
    assert len(drawn) == len(scenes) + 2  # the first and the last, looked at
    assert np.array_equal(first.hashes, again.hashes)
    (file,) = (tmp_path / "finevit" / "stand_in").iterdir()
    np.savez(file, hashes=first.hashes[::-1], thumbnails=first.thumbnails)
    assert np.array_equal(signs.signs_of(scenes).hashes, first.hashes)
    assert len(drawn) > 2 * len(scenes)


def test_the_truth_of_other_images_comes_from_a_file(tmp_path):
    image = png(np.full((20, 30, 3), 99, np.uint8))
    digest = hashlib.sha256(image).hexdigest()
    line = {"captions": {"x": "A grey wall with a dog.", "y": "Wall."}, "objects": [{"phrase": "dog", "box": [0.1, 0.2, 0.5, 0.9]}]}
    (tmp_path / "truth.jsonl").write_text(json.dumps({"sha256": digest, **line}) + "\n")
    with client(Album(None, None, read_truth(tmp_path / "truth.jsonl"))) as endpoint:
        ask = partial(ask_of, image, endpoint)
        assert ask("Describe it.") == "A grey wall with a dog."
        assert ask("Describe it.", model="stand-in-b") == "Wall."
        assert json.loads(ask('Boxes as bbox_2d of ["dog", "cat"]', schema={})) == [
            {"bbox_2d": [100, 200, 500, 900], "label": "dog"}
        ]
        assert ask("Describe [110, 200, 500, 900].") == "dog"
    (tmp_path / "bad.jsonl").write_text(json.dumps({"sha256": digest, "objects": [{"phrase": "dog", "box": [0.5, 0.2, 0.1, 0.9]}]}))
    with pytest.raises(ValueError, match=r"bad.jsonl, line 1: .*x1 < x2"):
        read_truth(tmp_path / "bad.jsonl")


def test_what_is_no_chat_completion_is_refused_with_the_reason(album):
    with client(album) as endpoint:
        for sent in (b"{", b"[]", b'{"messages": 3}', json.dumps(body("A", image=b"")).replace("base64,", "base64,?").encode()):
            answer = endpoint.post("/v1/chat/completions", content=sent)
            assert answer.status_code == 400
            assert answer.json()["error"]["message"]
        assert endpoint.get("/health").json() == {"status": "ok", "notice": endpoint.get("/stats").json()["notice"], "images": 24}
        assert [one["id"] for one in endpoint.get("/v1/models").json()["data"]] == list(wording.VOICES)
