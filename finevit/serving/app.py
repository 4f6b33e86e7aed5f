"""The endpoint as an ASGI application: ``POST /v1/chat/completions``, ``GET /v1/models``, ``GET /health``."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from finevit.contracts import BadSample
from finevit.datasets.decoding.images import FROM_STRANGERS, decode
from finevit.serving import messages
from finevit.serving.aside import Lane, TooSlow
from finevit.serving.limits import Arrivals, Limits, Places, Refusal
from finevit.serving.messages import Answer
from finevit.serving.middleware import Gate, Lingering
from finevit.serving.queues import Order, Turns, while_waited_for

QUICK_S = 0.5
"""Seconds that a request or an image may take to be read before it has to wait for other slow ones."""


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
        memory = 2**30 + 32 * limits.pixels + 4 * limits.body_bytes
        self.lanes = Lane(seconds=min(QUICK_S, limits.decode_s), memory=memory), Lane(seconds=limits.decode_s, memory=memory)
        self.rooms = Order(2), Order(1)
        self.ending = asyncio.Event()

    async def health(self, request: Request) -> Response:
        """Whether the server is there, and how many requests it has: needs no key, and no place."""
        return JSONResponse({"status": "ok", "requests": self.places.taken})

    async def models(self, request: Request) -> Response:
        """The one model."""
        self._authorise(request)
        return JSONResponse(messages.models(self.answerer.name))

    async def model(self, request: Request) -> Response:
        """One model, by its name."""
        self._authorise(request)
        messages.check_model(request.path_params["name"], self.answerer.name)
        return JSONResponse(messages.model(self.answerer.name))

    async def chat(self, request: Request) -> Response:
        """An answer, or a ``Refusal``."""
        self._authorise(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal("the Content-Type is not application/json; send JSON, and say so", status=415)
        limits, name = self.limits, self.answerer.name
        body = await self.arrivals.receive(request)
        with self.places.take(request):
            work = self._answer(body)
            asked, answer = await while_waited_for(request, work, limits.answer_s, self.ending)
        answer = messages.cut(answer, asked.stop)
        if asked.stream:
            return Response(messages.events(answer, name, usage=asked.usage), media_type="text/event-stream")
        return JSONResponse(messages.completion(answer, name))

    async def _answer(self, body: bytes) -> tuple[messages.Request, Answer]:
        """What is asked, and the answer."""
        asked = await self._read(body)
        try:
            return asked, await self._say(asked, size=len(body))
        except BadSample as error:
            raise Refusal(str(error), param="messages") from None

    async def _read(self, body: bytes) -> messages.Request:
        read = partial(messages.read, body, name=self.answerer.name, limits=self.limits)
        for lane in self.lanes:
            with suppress(TooSlow):
                return await lane.run(read, size=len(body))
        raise self._too_slow()

    async def _say(self, asked: messages.Request, *, size: int) -> Answer:
        """No more images are in memory than the rooms have places; slow ones have a lane of their own, and shut nobody out."""
        limits = self.limits
        pixels = partial(decode, asked.image, name="the image", max_pixels=limits.pixels, formats=FROM_STRANGERS)
        for lane, room in zip(self.lanes, self.rooms, strict=True):
            async with room.turn(size):
                with suppress(TooSlow):
                    image = await lane.run(pixels, size=size)
                    return await self.turns.run(lambda: self.answerer.answer(image, asked.prompt, asked.max_tokens))  # noqa: B023
        raise self._too_slow()

    def _too_slow(self) -> Refusal:
        message = f"the image takes more than {self.limits.decode_s:g} s to read (--decode-seconds); send it smaller, or as a PNG"
        return Refusal(message, param="messages")

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
        for lane in endpoint.lanes:
            lane.start()
        yield
        for lane in endpoint.lanes:
            lane.end()
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
    content = messages.error(str(refusal), status=refusal.status, param=refusal.param, code=refusal.code)
    return JSONResponse(content, refusal.status, {"Retry-After": "1"} if refusal.status == 429 else None)


async def _not_found(request: Request, error: Exception) -> Response:
    """No such address, or none for this method."""
    assert isinstance(error, HTTPException)
    there = "POST /v1/chat/completions, GET /v1/models and GET /health"
    content = messages.error(f"there is no {request.method} for this address; there are {there}", status=error.status_code)
    return JSONResponse(content, error.status_code, error.headers)


async def _gone(_: Request, __: Exception) -> Response:
    """For the log alone: nobody reads it."""
    return Response(status_code=499)


async def _failed(_: Request, __: Exception) -> Response:
    """An error of ours. Its traceback goes to the server's log, and not to clients."""
    content = messages.error("the model failed at this request; the server's log says why", status=500)
    return JSONResponse(content, 500)
