"""Engines behind a chat completion: many requests in flight, taken in their order, answered out of order.

What sends is imported when something is sent: plugins are listed without it, also where httpx is not installed.
"""

import base64
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from finevit.contracts import BadSample
from finevit.recaption.client.options import ClientOptions, Generation, address, options
from finevit.recaption.client.patience import Patience
from finevit.recaption.client.reading import Said, said
from finevit.recaption.client.reply import Reply
from finevit.recaption.contracts import OK, Answer, Engine, Picture, Price, Unavailable
from finevit.recaption.wording import refusal

if TYPE_CHECKING:
    from finevit.recaption.client.sending import Sender


class ChatEngine(Engine):
    """An engine whose requests become chat completions. A subclass says what a request's message holds and reads the answer.

    ``client`` and ``generation`` are settings by name, those of :class:`~finevit.recaption.client.options.ClientOptions` and
    :class:`~finevit.recaption.client.options.Generation`.
    """

    operational = frozenset({"base_url", "client"})

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        revision: str = "",
        max_tokens: PositiveInt = 1024,
        generation: Mapping[str, Any] | None = None,
        client: Mapping[str, Any] | None = None,
    ) -> None:
        self.url, self.name = address(base_url), model
        self.model = f"{model}@{revision}" if revision else model
        self.max_tokens = max_tokens
        self.generation = options("generation", Generation, generation or {})
        self.client = options("client", ClientOptions, client or {})
        self.price = Price(*self.client.price)
        self._patience = Patience(self.url, self.client.api_key_env)
        self._sends: Sender | None = None

    @abstractmethod
    def content(self, request: Any) -> list[dict[str, Any]]:
        """The parts of the user's message; ``BadSample`` where an image cannot be decoded."""

    @abstractmethod
    def value(self, request: Any, said: Said) -> tuple[str, Any, str]:
        """Status, value and detail of the answer that a text is."""

    def form(self) -> dict[str, Any]:
        """Fields of the body that ask for a form of the answer."""
        return {}

    def settings(self) -> Mapping[str, Any]:
        """See ``Engine``."""
        made = {"max_tokens": self.max_tokens, "temperature": self.generation.temperature, "body": dict(self.generation.body)}
        return made | ({"language": self.generation.language} if self.generation.language else {})

    def describe(self) -> str:
        """One line for people."""
        return f"{type(self).__name__} {self.model} at {self.url}"

    def answer(self, request: Any) -> Answer:
        """See ``Engine``."""
        return next(answer for _, answer in self.answers([request]))

    def answers(self, requests: Iterable[Any]) -> Iterator[tuple[Any, Answer]]:
        """See ``Engine``: at most ``client.in_flight`` requests, with their images, are in memory. What may be wrong with all
        requests alike is kept back until one is answered, and said of none where the server is given up."""
        held: list[tuple[Any, Answer]] = []
        flying: dict[Future, Any] = {}
        try:
            for request, reply in self._asked(requests, flying):
                if reply.status != "unreadable" and (why := self._patience.lost(reply)):
                    raise Unavailable(why)
                answered = request, self._answer(request, reply)
                if reply.status == "bad_request":
                    held.append(answered)
                    continue
                if not reply.status:
                    yield from held
                    held.clear()
                yield answered
            yield from held
        finally:
            for future in flying:
                future.cancel()

    def _asked(self, requests: Iterable[Any], flying: dict[Future, Any]) -> Iterator[tuple[Any, Reply]]:
        """Requests with their replies, as they come; ``flying`` are those on their way."""
        done: SimpleQueue[Future] = SimpleQueue()
        for request in requests:
            while len(flying) >= self.client.in_flight or not done.empty():
                yield _landed(flying, done)
            try:
                body, texts = self._body(self.content(request))
            except BadSample as error:
                yield request, Reply("unreadable", str(error), attempts=0)
                continue
            future = self._sender().start(body, texts)
            flying[future] = request
            future.add_done_callback(done.put)
        while flying:
            yield _landed(flying, done)

    def _sender(self) -> "Sender":
        """That of this process: a fork begins anew."""
        if self._sends is None or self._sends.process != os.getpid():
            self._sends = _sender(self.url, self.client)
        return self._sends

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_sends": None}

    def _body(self, content: list[dict[str, Any]]) -> tuple[bytes, list[str]]:
        """The request's body and the texts in it."""
        fields = {
            "model": self.name,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.max_tokens,
            "temperature": self.generation.temperature,
            **self.form(),
            **self.generation.body,
        }
        body = json.dumps({name: value for name, value in fields.items() if value is not None})
        return body.encode(), [part["text"] for part in content if part["type"] == "text"]

    def _answer(self, request: Any, reply: Reply) -> Answer:
        if reply.status:
            return Answer(reply.status, detail=reply.detail, attempts=reply.attempts, seconds=reply.seconds)
        read = said(reply.data)
        status, value, detail = (read.status, None, read.detail) if read.status else self.value(request, read)
        counts = (read.prompt_tokens, read.completion_tokens, reply.attempts, reply.seconds)
        return Answer(status, value, detail, read.finish_reason, *counts)


def _sender(url: str, options: ClientOptions) -> "Sender":
    try:
        from finevit.recaption.client.sending import Sender
    except ModuleNotFoundError as error:
        raise Unavailable(f"a client of chat completions needs {error.name}; `pip install 'finevit[recaption]'`") from error
    return Sender(url, options)


def _landed(flying: dict[Future, Any], done: SimpleQueue) -> tuple[Any, Reply]:
    future = done.get()
    return flying.pop(future), future.result()


def text_part(text: str) -> list[dict[str, Any]]:
    """A text as a part of a message; none where it says nothing."""
    return [{"type": "text", "text": text}] if text.strip() else []


def image_part(picture: Picture, *, max_pixels: int) -> dict[str, Any]:
    """A picture as a part of a message: a data URL."""
    data, mime = picture.encoded(max_pixels=max_pixels)
    return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"}}


def json_list(said: Said, name: str) -> tuple[str, list[Any], str]:
    """Status, items and detail of an answer that is to be a JSON list, or an object that has it under ``name``."""
    if said.finish_reason == "length":
        return "truncated", [], "the answer ended at max_tokens"
    listed = json_object(said.text)
    listed = listed.get(name) if isinstance(listed, dict) else listed
    if isinstance(listed, list):
        return OK, listed, ""
    if refusal(said.text):
        return "refused", [], "a refusal in place of JSON"
    return "unusable", [], f"no JSON list of {name}"


def json_object(text: str) -> Any:
    """The JSON object or list of an answer, also within a fence of Markdown; None where there is none."""
    bare = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    with suppress(ValueError, RecursionError):
        return json.loads(bare)
    return None
