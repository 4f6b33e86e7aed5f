"""What is said to clients, in the words of OpenAI's chat completions: answers, answers as a stream, errors."""

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple


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
