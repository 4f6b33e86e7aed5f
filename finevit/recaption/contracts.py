"""What the passes of recaptioning ask of models, and what they get back: requests, answers and the four kinds of engines.

An engine is built once in a process and asked for many things at once. What it is asked for, what it is and how it samples decide
an answer, and are hashed to the request's key, under which the journal keeps the answer: nothing is paid for twice.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from finevit.boxes import Box

OK = "ok"
RETRIABLE = {
    "timeout": "no answer before the deadline",
    "rate_limited": "HTTP 429",
    "server_error": "HTTP 408 or 5xx",
    "connection": "the connection failed or was dropped",
    "malformed": "the response is not what the protocol says, such as no JSON",
    "truncated": "the answer ended at max_tokens",
}
"""Statuses of requests that another run asks again."""
FINAL = {
    "bad_request": "HTTP 4xx: asking again would not help",
    "content_filter": "the server's filter withheld the answer",
    "refused": "the answer is a refusal",
    "empty": "the answer has no text",
    "reasoning_only": "the answer has reasoning and no content",
    "repetition": "the answer repeats itself",
    "wrong_language": "the answer is in another language or script",
    "unusable": "the answer does not have the form that was asked for",
    "unreadable": "the image cannot be decoded",
}
"""Statuses of requests that only ``finevit recaption retry`` asks again."""


@dataclass(frozen=True)
class Picture:
    """An image, or the part of it within ``box`` (canonical xyxy of the upright image); ``read`` returns its stored bytes, and
    ``readable`` says that they were decoded before, without a fault."""

    sample_id: str
    read: Callable[[], bytes]
    box: Box | None = None
    readable: bool = False

    @property
    def identity(self) -> list[Any]:
        """What stands for it in a request's key."""
        return [self.sample_id, None if self.box is None else [round(float(side), 6) for side in self.box]]

    def pixels(self) -> np.ndarray:
        """Upright RGB ``uint8 [height, width, 3]``; ``BadSample`` where it cannot be decoded."""
        from finevit.recaption.pictures import pixels

        return pixels(self)

    def encoded(self, *, max_pixels: int) -> tuple[bytes, str]:
        """Bytes and MIME type to be sent: the stored ones where they are whole, upright, of at most ``max_pixels`` and of a format
        that servers read, else a new JPEG. ``BadSample`` where it cannot be decoded."""
        from finevit.recaption.pictures import encoded

        return encoded(self, max_pixels=max_pixels)


@dataclass(frozen=True)
class CaptionRequest:
    """``prompt`` is the static text, ``pictures`` the whole image first and then, for a region, the part; ``suffix`` is the text
    that belongs to one region alone and comes last, behind the part, so that regions of one image share a prefix."""

    prompt: str
    pictures: tuple[Picture, ...]
    suffix: str = ""

    @property
    def identity(self) -> list[Any]:
        """What is asked, for the key."""
        return ["caption", self.prompt, self.suffix, [picture.identity for picture in self.pictures]]


@dataclass(frozen=True)
class PhraseRequest:
    """The noun phrases of a caption are wanted."""

    text: str

    @property
    def identity(self) -> list[Any]:
        """What is asked, for the key."""
        return ["phrases", self.text]


@dataclass(frozen=True)
class GroundRequest:
    """The boxes of ``phrases``, which are different from each other, are wanted."""

    picture: Picture
    phrases: tuple[str, ...]

    @property
    def identity(self) -> list[Any]:
        """What is asked, for the key."""
        return ["ground", self.picture.identity, list(self.phrases)]


@dataclass(frozen=True)
class OCRRequest:
    """The lines of text of an image are wanted."""

    picture: Picture

    @property
    def identity(self) -> list[Any]:
        """What is asked, for the key."""
        return ["ocr", self.picture.identity]


Request = CaptionRequest | PhraseRequest | GroundRequest | OCRRequest


class Answer(NamedTuple):
    """What became of a request: ``value`` is plain JSON, of the form that the engine's kind says, None unless ``status`` is ``ok``.

    ``detail`` says why there is none, for people, without keys or texts of the request. ``attempts`` counts what was sent,
    tokens and ``seconds`` are summed over all attempts.
    """

    status: str
    value: Any = None
    detail: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 1
    seconds: float = 0.0


class Price(NamedTuple):
    """Money for a million tokens that are sent and received."""

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What these cost."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


class Unavailable(ValueError):
    """An engine can answer nothing at all, such as one whose server is down: the run is to end with this message. What was
    answered before stands, and another run asks the rest."""


class Engine(ABC):
    """A model behind requests. A subclass implements ``answer``; one that is faster with many at once, also ``answers``.

    ``model`` names the model with its revision (``name@revision``); it stands in the tables. ``price`` is what its tokens cost.
    """

    model: str
    price: Price = Price()
    operational: ClassVar[frozenset[str]] = frozenset()
    """Arguments that do not change answers, such as addresses and requests in flight: no shard is made again for them."""

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """What beside a request decides its answer, as plain JSON: sampling, image size, thresholds. Not addresses and not keys."""

    @abstractmethod
    def answer(self, request: Any) -> Answer:
        """One answer. Failures are answers with a status, never exceptions, but for ``Unavailable``."""

    def answers(self, requests: Iterable[Any]) -> Iterator[tuple[Any, Answer]]:
        """Each request with its answer, in any order; ``requests`` are taken when there is room: memory holds few images."""
        for request in requests:
            yield request, self.answer(request)

    def describe(self) -> str:
        """One line for people."""
        return f"{type(self).__name__} {self.model}"

    def key(self, request: Request) -> str:
        """The request's key in the journal: 32 hexadecimal digits of what is asked, of which model, and how."""
        told = [type(self).__name__, self.model, dict(self.settings()), request.identity]
        return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[
            :32
        ]


class Captioner(Engine):
    """Answers a ``CaptionRequest`` by a text: ``value`` is a string."""


class PhraseExtractor(Engine):
    """Answers a ``PhraseRequest`` by noun phrases: ``value`` is a list of ``[start, end]`` in characters of the text, end
    exclusive, sorted; ``text[start:end]`` is the phrase. Spans may repeat a string; none is empty."""


class Grounder(Engine):
    """Answers a ``GroundRequest`` by boxes: ``value`` is a list of ``{"phrase": index, "box": [x1, y1, x2, y2], "score": s}``,
    canonical boxes in the picture's frame (of a part: in the part's own [0, 1]), ``phrase`` an index into the request's phrases."""


class OCREngine(Engine):
    """Answers an ``OCRRequest`` by lines of text: ``value`` is a list of ``{"text": t, "score": s, "quad": [x1, y1, ..., x4, y4]}``
    with the corners clockwise from the top left of the text, in [0, 1] of the picture's frame."""
