"""The client of chat completions: what each fault of a server becomes, what it costs, and that keys stay where they are."""

import io
import json
import logging
import os
import pickle
import time
from collections import Counter

import pytest
from fault_server import AGAIN, CAPTION, FAULTS, STATUS, FaultServer, serving
from finevit_plugins.captioners.openai import OpenAICaptioner
from PIL import Image

from finevit.contracts import BadSample
from finevit.recaption.client.options import CONNECTIONS, address
from finevit.recaption.contracts import CaptionRequest, Picture, Price, Unavailable
from finevit.testing import check_captioner

FAST = {"wait_s": 0.002, "deadline_s": 10, "attempts": 3, "api_key_env": ""}


def captioner(url: str, **settings: object) -> OpenAICaptioner:
    client = {**FAST, **settings.pop("client", {})}
    return OpenAICaptioner(base_url=url, model="vlm", revision="7", client=client, **settings)


def png(side: int = 8, colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "PNG")
    return file.getvalue()


PNG = png()


def requests(count: int, *, prompt: str = "Describe image"):
    return (CaptionRequest(f"{prompt} {number}.", (Picture(str(number), lambda: PNG),)) for number in range(count))


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_becomes_its_status(fault):
    with serving(FaultServer({fault: 1.0}, slow_s=0.2)) as server:
        engine = captioner(server.url, client={"deadline_s": 0.05} if fault == "slow" else {})
        answer = engine.answer(next(requests(1)))
    assert (answer.status, answer.value) == (STATUS[fault], None)
    assert answer.attempts == (3 if answer.status in AGAIN else 1)
    assert answer.detail
    paid = fault in ("truncated", "refusal", "loop", "reasoning", "empty", "null", "filter")
    assert (answer.prompt_tokens, answer.completion_tokens) == ((100, 20) if paid else (0, 0))


def test_a_request_says_whole_image_prompt_part_and_suffix():
    with serving(FaultServer()) as server:
        engine = captioner(server.url, max_tokens=77, generation={"body": {"seed": 5, "temperature": None}})
        check_captioner(engine)
        whole = Picture("a", lambda: PNG)
        answer = engine.answer(CaptionRequest("Describe the part.", (whole, Picture("a", lambda: PNG, (0, 0, 0.5, 0.5))), "A car."))
    assert answer[:6] == ("ok", CAPTION, "", "stop", 100, 20)
    body = server.order[-1]
    assert {name: body[name] for name in body if name != "messages"} == {"model": "vlm", "max_tokens": 77, "seed": 5}
    (message,) = body["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "text", "image_url", "text"]
    assert [part["text"] for part in message["content"] if part["type"] == "text"] == ["Describe the part.", "A car."]
    assert message["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert engine.model == "vlm@7"


def test_a_thousand_requests_with_faults_in_a_third_end_each_with_their_true_status():
    """Every fault at 2 %, of which the client repairs those that another attempt repairs."""
    faults = {fault: 0.02 for fault in FAULTS if fault != "slow"}
    with serving(FaultServer(faults, seed=3)) as server:
        engine = captioner(server.url, client={"in_flight": 8})
        answers = {request.pictures[0].sample_id: answer for request, answer in engine.answers(requests(1000))}
    bodies = [engine._body(engine.content(request))[0] for request in requests(1000)]
    planned = [server.planned(body, 3) for body in bodies]
    assert [answers[str(number)].status for number in range(1000)] == [status for status, _ in planned]
    assert sum(bool(server.fault(body, 0)) for body in bodies) == pytest.approx(300, abs=40)
    assert Counter(status for status, _ in planned)["ok"] == pytest.approx(840, abs=30)
    assert {"bad_request", "truncated", "refused", "repetition", "reasoning_only", "empty", "content_filter"} < {
        s for s, _ in planned
    }
    assert all((answer.value == CAPTION) == (answer.status == "ok") for answer in answers.values())
    assert sum(answer.attempts for answer in answers.values()) == server.asked.total()
    assert server.paid.total() == sum(paid for _, paid in planned)
    assert server.most <= 8


def test_at_most_as_many_images_as_are_in_flight_are_in_memory_and_their_order_is_kept():
    taken = []

    def source():
        for request in requests(40):
            taken.append(request)
            yield request

    with serving(FaultServer(hold_s=0.02)) as server:
        answers = captioner(server.url, client={"in_flight": 4}).answers(source())
        for count, _ in enumerate(answers, 1):
            assert len(taken) - count <= 4
    prompts = [body["messages"][0]["content"][1]["text"] for body in server.order]
    places = [int(prompt.rstrip(".").rpartition(" ")[2]) for prompt in prompts]
    assert server.most == 4
    assert max(abs(place - number) for number, place in enumerate(places)) <= 4


def test_answers_come_out_of_order():
    with serving(FaultServer({"slow": 0.25}, seed=1, slow_s=0.3)) as server:
        engine = captioner(server.url, client={"in_flight": 8})
        order = [int(request.pictures[0].sample_id) for request, _ in engine.answers(requests(16))]
    assert sorted(order) == list(range(16))
    assert order != sorted(order)


def test_retry_after_is_kept_to_and_a_long_one_is_no_reason_to_wait():
    with serving(FaultServer({"429": 1.0}, headers="retry-after: 0.15\r\n")) as server:
        began = time.monotonic()
        answer = captioner(server.url, client={"attempts": 3}).answer(next(requests(1)))
        assert time.monotonic() - began >= 0.3
    assert (answer.status, answer.attempts) == ("rate_limited", 3)
    with serving(FaultServer({"500": 1.0}, headers="retry-after: 3600\r\n")) as server:
        answer = captioner(server.url).answer(next(requests(1)))
    assert (answer.status, answer.attempts) == ("server_error", 1)
    assert "asks to wait 3,600 s, longer than client.deadline_s=10" in answer.detail


def test_requests_are_spaced_by_the_limit_of_a_minute():
    with serving(FaultServer()) as server:
        engine, began = captioner(server.url, client={"requests_per_minute": 1200}), time.monotonic()
        assert len(list(engine.answers(requests(5)))) == 5
        assert time.monotonic() - began >= 4 * 0.05 - 0.01
        engine.answer(next(requests(1)))
        assert time.monotonic() - began >= 5 * 0.05 - 0.01


@pytest.mark.parametrize(("fault", "remedy"), [("401", "OPENAI_API_KEY"), ("403", "OPENAI_API_KEY"), ("404", "/v1/models lists")])
def test_a_server_that_refuses_everybody_is_given_up_at_once(fault, remedy):
    with serving(FaultServer({fault: 1.0}, message="no")) as server:
        engine = captioner(server.url, client={"in_flight": 1, "api_key_env": "OPENAI_API_KEY"})
        with pytest.raises(Unavailable, match=rf"{server.url}: HTTP {fault}: no; .*{remedy}"):
            list(engine.answers(requests(100)))
        assert server.asked.total() == 1


def test_requests_that_are_all_wrong_end_the_run_and_none_is_said_to_be_final():
    got = []
    with (
        serving(FaultServer({"400": 1.0}, message="max_tokens is too large")) as server,
        pytest.raises(Unavailable, match="HTTP 400: max_tokens is too large; 20 requests in a row ended so; change what is asked"),
    ):
        got += captioner(server.url, client={"in_flight": 1}).answers(requests(100))
    assert got == []
    assert server.asked.total() == 20
    with serving(FaultServer({"400": 1.0})) as server:
        few = [answer.status for _, answer in captioner(server.url).answers(requests(5))]
    assert few == ["bad_request"] * 5


def test_a_server_that_is_down_is_given_up_soon_with_its_address():
    with serving(FaultServer()) as server:
        url = server.url
    began = time.monotonic()
    with pytest.raises(
        Unavailable, match=rf"{url}: ConnectError.*8 requests in a row ended so; start the server, or check base_url"
    ):
        list(captioner(url, client={"in_flight": 4}).answers(requests(100_000)))
    assert time.monotonic() - began < 5


def test_an_image_that_cannot_be_decoded_is_unreadable_and_nothing_is_sent():
    def damaged() -> bytes:
        raise BadSample("x.jpg: cut")

    with serving(FaultServer()) as server:
        (pair,) = captioner(server.url).answers([CaptionRequest("Describe.", (Picture("x", damaged),))])
    assert pair[1][:3] == ("unreadable", None, "x.jpg: cut")
    assert not server.asked


KEY = "sk-proj-9f8e7d6c5b4a39281706"


def test_the_key_goes_to_the_server_and_appears_nowhere_else(monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    echo = f"Incorrect API key provided: {KEY}; you sent Bearer {KEY[:12]}********{KEY[-4:]}"
    with caplog.at_level(logging.DEBUG), serving(FaultServer({"500": 0.5, "400": 0.3}, seed=2, message=echo)) as server:
        engine = captioner(server.url, client={"api_key_env": "MY_KEY"})
        answers = [answer for _, answer in engine.answers(requests(30))]
        with_key = FaultServer(says=lambda body: f"A sign that reads {KEY}.")
        with serving(with_key):
            leaked = captioner(with_key.url, client={"api_key_env": "MY_KEY"}).answer(next(requests(1)))
    assert all(f"authorization: Bearer {KEY}\r\n" in head for head in server.seen_headers)
    assert {answer.status for answer in answers} == {"ok", "server_error", "bad_request"}
    assert leaked[:3] == ("unusable", None, "the answer repeats the API key")
    told = [repr(answers), repr(engine), str(vars(engine)), engine.describe(), json.dumps(dict(engine.settings())), caplog.text]
    told += [engine.key(next(requests(1))), pickle.dumps(engine).decode("latin-1")]
    for text in told:
        assert KEY not in text
        assert KEY[:12] not in text
    assert any("Incorrect API key provided: [API key]; you sent Bearer …" in answer.detail for answer in answers)


def test_details_do_not_repeat_what_was_asked():
    prompt = "Describe this very private picture of the inside of my house"
    with serving(FaultServer({"400": 1.0}, message=f"cannot take '{prompt} 0.' of 99 tokens")) as server:
        answer = captioner(server.url).answer(next(requests(1, prompt=prompt)))
    assert answer.detail == "HTTP 400: cannot take '…' of 99 tokens"


def test_a_key_that_no_header_holds_ends_the_run_without_being_shown(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk secret\nvalue")
    with serving(FaultServer()) as server, pytest.raises(Unavailable, match="MY_KEY holds no API key") as caught:
        captioner(server.url, client={"api_key_env": "MY_KEY"}).answer(next(requests(1)))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://me:pass@host/v1", "https://host/v1?api_key=pass", "http://host/v1#pass", "http://me@ho[st/pass"]
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match=r"base_url=https?://\.\.\.: an address holds no name, password") as caught:
        captioner(url)
    assert "pass" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "", "http://", "http://host:port/v1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="is no address; give one such as http://localhost:8000/v1"):
        captioner(url)


def test_addresses_are_those_of_the_api():
    assert (
        address("http://localhost:8000/v1/") == address("http://localhost:8000/v1/chat/completions") == "http://localhost:8000/v1"
    )


@pytest.mark.parametrize(
    ("client", "told"),
    [
        ({"inflight": 3}, "client.inflight: no such setting (did you mean 'in_flight'?); there are api_key_env"),
        ({"in_flight": 0}, f"client.in_flight=0: give a whole number from 1 to {CONNECTIONS:,}"),
        ({"deadline_s": "1"}, "client.deadline_s='1': give a number above 0, at most 86,400"),
        ({"price": [1.0]}, "client.price=[1.0]: give two numbers: of a million tokens sent, and received"),
    ],
)
def test_wrong_settings_of_the_client_are_named(client, told):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        OpenAICaptioner(base_url="http://host/v1", model="m", client=client)
    assert str(caught.value).startswith(told)


def test_keys_of_requests_depend_on_what_decides_the_answer_alone():
    request = next(requests(1))

    def make(**settings: object) -> str:
        return captioner("http://a/v1", **settings).key(request)

    assert make() == captioner("http://b/v1", client={"in_flight": 2, "attempts": 9, "price": [1, 2]}).key(request)
    others = [make(max_tokens=5), make(max_pixels=9), make(generation={"temperature": 1}), make(generation={"body": {"seed": 1}})]
    assert len({make(), *others, make(generation={"language": "en"})}) == 6


def test_what_a_request_costs():
    engine = captioner("http://a/v1", client={"price": [0.5, 2]})
    assert engine.price == Price(0.5, 2)
    assert engine.price.of(100, 20) == pytest.approx(90e-6)


def test_a_forked_process_has_a_client_of_its_own():
    with serving(FaultServer()) as server:
        engine = captioner(server.url)
        assert engine.answer(next(requests(1))).status == "ok"
        if (child := os.fork()) == 0:
            code = 1
            try:
                code = 0 if engine.answer(next(requests(1))).value == CAPTION else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert pickle.loads(pickle.dumps(engine)).answer(next(requests(1))).status == "ok"


def test_leaving_early_ends_what_is_in_flight():
    with serving(FaultServer({"slow": 1.0}, slow_s=30)) as server:
        engine = captioner(server.url, client={"in_flight": 4, "deadline_s": 60})
        with pytest.raises(RuntimeError, match="stop"):
            list(engine.answers(stopping()))
        until = time.monotonic() + 5
        while server.open and time.monotonic() < until:
            time.sleep(0.01)
        assert time.monotonic() < until


def stopping():
    yield from requests(3)
    time.sleep(0.1)
    raise RuntimeError("stop")
