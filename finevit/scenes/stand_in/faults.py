"""What goes wrong at an endpoint, at random: drawn for each attempt, the same for the same request, attempt and seed."""

import asyncio
from collections.abc import Sequence
from random import Random

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

KINDS = ("timeout", "400", "429", "500", "truncation", "refusal", "loop", "non_json", "reasoning", "empty", "dropped")
REFUSAL = "I'm sorry, but I can't assist with describing this image."
_STATUS = {
    "400": "a made-up fault: the request is not accepted",
    "429": "a made-up fault: too many requests",
    "500": "a made-up fault",
}


def draw(share: float, *, kinds: Sequence[str], seed: int, key: str, attempt: int) -> str:
    """The fault of an attempt; empty for none."""
    random = Random(f"fault {seed} {key} {attempt}")
    return random.choice(kinds) if random.random() < share else ""


def failed(kind: str) -> Response | None:
    """The whole response of a fault that brings no completion."""
    if kind in _STATUS:
        content = {"error": {"message": _STATUS[kind], "type": "made_up_fault", "code": kind}}
        return JSONResponse(content, int(kind), {"Retry-After": "0"} if kind == "429" else None)
    if kind == "non_json":
        return Response("<html><body>Bad gateway</body></html>", media_type="text/html")
    return Dropped() if kind == "dropped" else None


def spoilt(kind: str, text: str, max_tokens: int) -> tuple[str | None, str, str]:
    """Content, reasoning and reason of the end of a completion with a fault."""
    if kind == "truncation":
        return text[: len(text) // 2], "", "length"
    if kind == "loop":
        part = " ".join(text.split()[:6])
        return " ".join([part] * max(8, min(40, max_tokens // 8))), "", "length"
    if kind == "reasoning":
        return None, f"The user wants a description. {text}", "stop"
    return (REFUSAL, "", "stop") if kind == "refusal" else ("", "", "stop")


async def hang(request: Request, seconds: float) -> None:
    """Until the client goes, or the time is over."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end and not await request.is_disconnected():
        await asyncio.sleep(0.05)


class Dropped(Response):
    """A response whose connection is closed before its end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"4096")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"choices": [', "more_body": True})
