"""The endpoint as an ASGI application: ``POST /v1/chat/completions``, ``GET /v1/models``, ``GET /health``."""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from finevit.contracts import BadSample
from finevit.datasets.images import FROM_STRANGERS, decode
from finevit.serving import messages, replies
from finevit.serving.gate import Gate
from finevit.serving.limits import Arrivals, Limits, Places, Refusal
from finevit.serving.lingering import Lingering
from finevit.serving.replies import Answer
from finevit.serving.turns import Turns, while_waited_for


class Answerer(Protocol):
    """A model that answers questions about images, as ``finevit.serving.checkpoint.load_answerer`` makes one.

    ``name`` is what requests call it. ``answer`` gets ``uint8 [height, width, 3]`` RGB pixels and is never called twice at once.
    It raises ``BadSample`` for a question that it cannot take, which becomes a refusal with that message.
    """

    name: str

    def answer(self, image: np.ndarray, prompt: str, max_tokens: int) -> Answer:
        """The greedy answer, of at most ``max_tokens`` tokens."""


class Endpoint:
    """What is done with requests. ``arrivals`` are those on their way, ``places`` those that are being dealt with."""

    def __init__(self, *, answerer: Answerer, limits: Limits, api_key: str = "") -> None:
        self.answerer, self.limits, self.api_key = answerer, limits, api_key
        self.arrivals, self.places, self.turns = Arrivals(limits), Places(limit=limits.requests), Turns()

    async def health(self, request: Request) -> Response:
        """Whether the server is there, and how many requests it has: needs no key, and no place."""
        return JSONResponse({"status": "ok", "requests": self.places.taken})

    async def models(self, request: Request) -> Response:
        """The one model."""
        self._authorise(request)
        return JSONResponse(replies.models(self.answerer.name))

    async def model(self, request: Request) -> Response:
        """One model, by its name."""
        self._authorise(request)
        messages.check_model(request.path_params["name"], self.answerer.name)
        return JSONResponse(replies.model(self.answerer.name))

    async def chat(self, request: Request) -> Response:
        """An answer, or a ``Refusal``."""
        self._authorise(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal("the Content-Type is not application/json; send JSON, and say so", status=415)
        name, limits = self.answerer.name, self.limits
        body = await self.arrivals.receive(request)
        with self.places.take(request):
            asked = messages.read(body, name=name, limits=limits)
            answer = await while_waited_for(request, self.turns.run(lambda: self._answer(asked)), limits.answer_s)
        answer = replies.cut(answer, asked.stop)
        if asked.stream:
            return Response(replies.events(answer, name, usage=asked.usage), media_type="text/event-stream")
        return JSONResponse(replies.completion(answer, name))

    def _answer(self, asked: messages.Request) -> Answer:
        """In the thread of the model: images are decoded in their turn, so that there is never more than one in memory."""
        try:
            pixels = decode(asked.image, name="the image", max_pixels=self.limits.pixels, formats=FROM_STRANGERS)
            return self.answerer.answer(pixels, asked.prompt, asked.max_tokens)
        except BadSample as error:
            raise Refusal(str(error), param="messages") from None

    def _authorise(self, request: Request) -> None:
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.api_key and not hmac.compare_digest(sent.encode(), self.api_key.encode()):
            message = "the API key is missing or wrong; send the server's --api-key as Authorization: Bearer KEY"
            raise Refusal(message, status=401, code="invalid_api_key")


def make_app(answerer: Answerer, limits: Limits, *, api_key: str = "") -> Starlette:
    """The application; its ``state.endpoint`` is the ``Endpoint``."""
    endpoint = Endpoint(answerer=answerer, limits=limits, api_key=api_key)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        endpoint.turns.close()

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", endpoint.chat, methods=["POST"]),
            Route("/v1/models", endpoint.models),
            Route("/v1/models/{name:path}", endpoint.model),
            Route("/health", endpoint.health),
        ],
        exception_handlers={Refusal: _refused, HTTPException: _not_found, ClientDisconnect: _gone, Exception: _failed},
        middleware=[Middleware(Gate), Middleware(Lingering)],
        lifespan=lifespan,
    )
    app.state.endpoint = endpoint
    return app


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    content = replies.error(str(refusal), status=refusal.status, param=refusal.param, code=refusal.code)
    return JSONResponse(content, refusal.status, {"Retry-After": "1"} if refusal.status == 429 else None)


async def _not_found(request: Request, error: Exception) -> Response:
    """No such address, or none for this method."""
    assert isinstance(error, HTTPException)
    there = "POST /v1/chat/completions, GET /v1/models and GET /health"
    content = replies.error(f"there is no {request.method} for this address; there are {there}", status=error.status_code)
    return JSONResponse(content, error.status_code, error.headers)


async def _gone(_: Request, __: Exception) -> Response:
    """For the log alone: nobody reads it."""
    return Response(status_code=499)


async def _failed(_: Request, __: Exception) -> Response:
    """An error of ours. Its traceback goes to the server's log, and not to clients."""
    content = replies.error("the model failed at this request; the server's log says why", status=500)
    return JSONResponse(content, 500)
