"""The stand-in as an ASGI application: ``POST /v1/chat/completions``, ``GET /v1/models``, ``GET /health``, ``GET /stats``."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from finevit.scenes.stand_in.answers import Answerer
from finevit.scenes.stand_in.asked import Asked, Unclear, read
from finevit.scenes.stand_in.faults import KINDS, draw, failed, hang, spoilt
from finevit.scenes.stand_in.wording import VOICES

NOTICE = "a stand-in: it answers from the hidden truth of its images and sees nothing"
IMAGE_TOKENS = 256
"""What an image is charged."""


@dataclass(frozen=True)
class Behaviour:
    """``faults`` is the share of requests that go wrong, in one of ``kinds``; ``latency`` and ``hang_s`` are in seconds: of every
    answer, and of one that never comes."""

    faults: float = 0.0
    kinds: Sequence[str] = KINDS
    latency: float = 0.0
    hang_s: float = 60.0


class Endpoint:
    """Answers and counts. What is answered with tokens counts as paid, faults too, as servers charge them."""

    def __init__(self, answerer: Answerer, behaviour: Behaviour) -> None:
        self.answerer, self.behaviour = answerer, behaviour
        self.asked, self.paid, self.counts = Counter[str](), Counter[str](), Counter[str]()
        self.tasks, self.faults = Counter[str](), Counter[str]()

    async def chat(self, request: Request) -> Response:
        """A completion, or a fault."""
        self.counts["requests"] += 1
        try:
            asked = read(await request.body())
        except Unclear as error:
            return self._refused(str(error))
        self.tasks[asked.task] += 1
        fault = self._fault(asked)
        if self.behaviour.latency:
            await asyncio.sleep(self.behaviour.latency)
        if fault == "timeout":
            await hang(request, self.behaviour.hang_s)
        if response := failed("500" if fault == "timeout" else fault):
            return response
        try:
            return self._completed(asked, self.answerer(asked), fault)
        except Unclear as error:
            return self._refused(str(error))

    def _fault(self, asked: Asked) -> str:
        """Of this attempt."""
        attempt, behaviour = self.asked[asked.key], self.behaviour
        self.asked[asked.key] += 1
        kind = draw(behaviour.faults, kinds=behaviour.kinds, seed=self.answerer.seed, key=asked.key, attempt=attempt)
        self.faults.update([kind] if kind else [])
        return kind

    def _refused(self, message: str) -> Response:
        self.counts["refused"] += 1
        return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, 400)

    def _completed(self, asked: Asked, text: str, fault: str) -> Response:
        content, reasoning, reason = spoilt(fault, text, asked.max_tokens) if fault else (text, "", "stop")
        words = (content or reasoning).split(" ")
        if tokens(words) > asked.max_tokens:
            content, reason = " ".join(words[: max(1, 3 * asked.max_tokens // 4)]), "length"
        usage = self._pay(asked, (content or reasoning).split(" "))
        message = {"role": "assistant", "content": content, **({"reasoning_content": reasoning} if reasoning else {})}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        head = {"id": f"chatcmpl-{asked.key}", "object": "chat.completion", "created": 0, "model": asked.model}
        return JSONResponse({**head, "choices": [choice], "usage": usage, "notice": NOTICE})

    def _pay(self, asked: Asked, words: Sequence[str]) -> dict[str, int]:
        prompt = IMAGE_TOKENS * len(asked.images) + sum(tokens(text.split()) for text in asked.texts)
        usage = {"prompt_tokens": prompt, "completion_tokens": tokens(words)}
        self.counts.update(usage)
        self.paid[asked.key] += 1
        return {**usage, "total_tokens": sum(usage.values())}

    async def models(self, _: Request) -> Response:
        """The voices."""
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "finevit, a stand-in"} for name in VOICES]
        return JSONResponse({"object": "list", "data": listed})

    async def health(self, _: Request) -> Response:
        """It is ready when it answers."""
        return JSONResponse({"status": "ok", "notice": NOTICE, "images": len(self.answerer.album)})

    async def stats(self, request: Request) -> Response:
        """What was asked and paid so far; ``?by=request`` with how often each request was, by its hash."""
        told: dict[str, Any] = {
            "notice": NOTICE,
            **{name: self.counts[name] for name in ("requests", "refused", "prompt_tokens", "completion_tokens")},
            "distinct": len(self.asked),
            "paid": self.paid.total(),
            "paid_again": self.paid.total() - len(self.paid),
            "tasks": dict(self.tasks),
            "faults": dict(self.faults),
        }
        if request.query_params.get("by") == "request":
            told["by_request"] = {key: {"asked": count, "paid": self.paid[key]} for key, count in self.asked.items()}
        return JSONResponse(told)


def tokens(words: Sequence[str]) -> int:
    """About four tokens for three words."""
    return -(-4 * len(words) // 3)


def make_app(answerer: Answerer, behaviour: Behaviour) -> Starlette:
    """The application; its ``state.endpoint`` is the ``Endpoint``."""
    endpoint = Endpoint(answerer, behaviour)
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", endpoint.chat, methods=["POST"]),
            Route("/v1/models", endpoint.models),
            Route("/health", endpoint.health),
            Route("/stats", endpoint.stats),
        ]
    )
    app.state.endpoint = endpoint
    return app
