"""Reads the body of a chat completion in OpenAI's format: one image, as a data URL, and the texts around it.

Nothing that a request names is opened or fetched. What is not understood is refused with a remedy, unless it is without
consequence: settings of sampling are accepted and have no effect, for answers are always greedy.
"""

import binascii
import json
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from finevit.hub.chat_templates import PLACEHOLDER
from finevit.serving.limits import Limits, Refusal


class Answer(NamedTuple):
    """What a model says. ``finish_reason`` is ``stop`` where it came to its end, ``length`` where ``max_tokens`` cut it."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


def cut(answer: Answer, stop: Sequence[str]) -> Answer:
    """The answer up to the first of the strings at which it is to stop."""
    ends = [end for end in map(answer.text.find, stop) if end >= 0]
    return answer._replace(text=answer.text[: min(ends)], finish_reason="stop") if ends else answer


def completion(answer: Answer, name: str) -> dict[str, Any]:
    """The answer as one object."""
    message = {"role": "assistant", "content": answer.text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return {**_head("chat.completion", name), "choices": [choice], "usage": _usage(answer)}


def events(answer: Answer, name: str, *, usage: bool) -> str:
    """The answer as server-sent events: all of the text at once, the reason of its end, with ``usage`` the numbers of tokens."""
    head = _head("chat.completion.chunk", name)
    steps: list[tuple[dict[str, str], str | None]] = [
        ({"role": "assistant", "content": answer.text}, None),
        ({}, answer.finish_reason),
    ]
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]} for delta, reason in steps]
    if usage:
        chunks = [*({**chunk, "usage": None} for chunk in chunks), {**head, "choices": [], "usage": _usage(answer)}]
    return "".join(f"data: {text}\n\n" for text in (*map(json.dumps, chunks), "[DONE]"))


def error(message: str, *, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """What is wrong, and the remedy."""
    kinds = {401: "authentication_error", 408: "timeout_error", 429: "rate_limit_error", 504: "timeout_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def models(name: str) -> dict[str, Any]:
    """The list of models: one."""
    return {"object": "list", "data": [model(name)]}


def model(name: str) -> dict[str, Any]:
    """The one model."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "finevit"}


def _head(kind: str, name: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": name}


def _usage(answer: Answer) -> dict[str, int]:
    prompt, written = answer.prompt_tokens, answer.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


UNSUPPORTED = ("audio", "functions", "logit_bias", "logprobs", "tools")
"""Settings that would change what an answer consists of."""
STOPS = 4
"""Most strings that end an answer."""
SPARE = 10_000
"""Marks of JSON beyond those in the prompt: far more than a request with one image needs."""

_DATA_URL = re.compile(r"data:image/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*;base64", re.IGNORECASE | re.ASCII)


class Request(NamedTuple):
    """What a request asks.

    ``image`` are the encoded bytes, ``stop`` the strings that end an answer; ``usage`` is whether the stream ends with the numbers
    of tokens.
    """

    image: bytes
    prompt: str
    max_tokens: int
    stop: tuple[str, ...]
    stream: bool
    usage: bool


def read(body: bytes, *, name: str, limits: Limits) -> Request:
    """Understand the body of a request to the model called ``name``. Raises ``Refusal``, and nothing else."""
    content = _parse(body, limits)
    check_model(content.get("model"), name)
    _check_settings(content)
    image, prompt = _image_and_prompt(content.get("messages"), limits)
    options = content.get("stream_options")
    usage = isinstance(options, dict) and options.get("include_usage") is True
    return Request(image, prompt, _max_tokens(content, limits), _stop(content), content.get("stream") is True, usage)


def _parse(body: bytes, limits: Limits) -> dict[str, Any]:
    """The JSON object. A body of countless tiny values is refused unread: they would take far more memory than its bytes."""
    if sum(body.count(mark) for mark in (b"{", b"[", b",")) > limits.prompt_chars + SPARE:
        raise Refusal(f"the body has too many parts for one image and {limits.prompt_chars:,} characters of text; send less")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"the body is not JSON ({error}); send a chat completion as application/json") from None
    if not isinstance(content, dict):
        raise Refusal(f"the body is {_brief(content)}; send a JSON object with model and messages")
    return content


def check_model(model: Any, name: str) -> None:
    """Raises ``Refusal`` for another model than the one called ``name``."""
    if not isinstance(model, str):
        raise Refusal(f"model is {_brief(model)}; name the model {name!r}", param="model")
    if model != name:
        message = f"there is no model {_brief(model)} here; the one that is served is {name!r}"
        raise Refusal(message, status=404, param="model", code="model_not_found")


def _check_settings(content: dict[str, Any]) -> None:
    for setting in UNSUPPORTED:
        if content.get(setting):
            raise Refusal(f"{setting} is not supported; leave it out", param=setting)
    kind = content.get("response_format") or {"type": "text"}
    if kind != {"type": "text"}:
        raise Refusal(f"response_format is {_brief(kind)}; only text is written: leave it out", param="response_format")
    n = content.get("n")
    if n is not None and not _is_number(n, 1, 1):
        raise Refusal(f"n is {_brief(n)}; there is one answer: leave it out or send 1", param="n")
    if not isinstance(content.get("stream"), bool | None):
        raise Refusal(f"stream is {_brief(content['stream'])}; send true or false", param="stream")
    temperature = content.get("temperature")
    if temperature is not None and not _is_number(temperature, 0, 2):
        message = f"temperature is {_brief(temperature)}; send a number from 0 to 2 (answers are greedy in any case)"
        raise Refusal(message, param="temperature")


def _max_tokens(content: dict[str, Any], limits: Limits) -> int:
    """As many as are asked for, and no more than the limit: harnesses ask for tens of thousands by default."""
    for setting in ("max_completion_tokens", "max_tokens"):
        value = content.get(setting)
        if value is not None:
            if not isinstance(value, int) or not _is_number(value, 1, float("inf")):
                raise Refusal(f"{setting} is {_brief(value)}; send a whole number of at least 1", param=setting)
            return min(value, limits.max_tokens)
    return limits.max_tokens


def _stop(content: dict[str, Any]) -> tuple[str, ...]:
    value = content.get("stop")
    stop = [value] if isinstance(value, str) else value or []
    if not isinstance(stop, list) or len(stop) > STOPS or not all(isinstance(text, str) and text for text in stop):
        raise Refusal(f"stop is {_brief(value)}; send a text, or a list of at most {STOPS}", param="stop")
    return tuple(stop)


def _image_and_prompt(messages: Any, limits: Limits) -> tuple[bytes, str]:
    """The image, and the texts in one, a line or more each: what the system says first."""
    urls: list[tuple[str, Any]] = []
    before: list[str] = []
    after: list[str] = []
    for where, role, part in _parts(messages):
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            (after if role == "user" else before).append(part["text"])
        elif part.get("type") == "image_url" and role == "user":
            urls.append((where, part.get("image_url")))
        else:
            allowed = "text or image_url" if role == "user" else "text"
            raise Refusal(f"{where} is {_brief(part)}; a part of a {role} message is {allowed}", param=where)
    if len(urls) != 1:
        raise Refusal(f"messages have {len(urls)} images; send exactly one, as image_url with a data URL", param="messages")
    said = "\n".join(text for text in (*before, *after) if text.strip())
    places = said.count(PLACEHOLDER)
    if places > 1:
        raise Refusal(f"messages have {places} times {PLACEHOLDER} for one image; leave it out", param="messages")
    prompt = _checked(re.sub(rf"{PLACEHOLDER}\n?", "", said), limits)
    return _image(*urls[0]), prompt


def _parts(messages: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where each part of the messages stands, who says it, and the part."""
    if not isinstance(messages, list) or not messages:
        raise Refusal(f"messages is {_brief(messages)}; send a list with a user message", param="messages")
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("system", "developer", "user"):
            remedy = "send one question, as system and user messages: earlier answers cannot be taken into account"
            raise Refusal(f"{where} is {_brief(message)}; {remedy}", param=where)
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise Refusal(f"{where}.content is {_brief(content)}; send text or a list of parts", param=f"{where}.content")
        yield from ((f"{where}.content[{place}]", role, part) for place, part in enumerate(parts))


def _checked(prompt: str, limits: Limits) -> str:
    if not prompt.strip():
        raise Refusal("messages have no text; ask a question about the image", param="messages")
    if len(prompt) > limits.prompt_chars:
        message = f"the texts have {len(prompt):,} characters, more than {limits.prompt_chars:,} (--max-prompt-chars); shorten them"
        raise Refusal(message, param="messages", code="string_above_max_length")
    if any("\ud800" <= char <= "\udfff" for char in prompt):
        raise Refusal("the texts have half a surrogate pair, which is no character; send valid Unicode", param="messages")
    return prompt


def _image(where: str, image: Any) -> bytes:
    """The bytes of a data URL. Addresses and paths are refused, never looked at: the server reads nothing for a client."""
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str):
        raise Refusal(f'{where}.image_url is {_brief(image)}; send {{"url": "data:image/png;base64,..."}}', param=where)
    kind, comma, data = url.partition(",")
    if not comma or not _DATA_URL.fullmatch(kind[:200]):
        message = f"{where}.image_url.url is {_brief(url)}; no address or path is read: send data:image/png;base64,... instead"
        raise Refusal(message, param=where)
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError as error:
        raise Refusal(f"{where}.image_url.url is not base64 ({error}); encode the whole file anew", param=where) from None


def _is_number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _brief(value: Any) -> str:
    """A value as messages show it: values may be megabytes long."""
    if isinstance(value, dict | list):
        return f"a {'list' if isinstance(value, list) else 'JSON object'} of {len(value)}"
    text = "missing" if value is None else repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 50 else f"{text[:50]}..."
