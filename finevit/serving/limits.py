"""What a request may cost the server: the limits, and the refusals that say which one was met."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from starlette.requests import Request

ARRIVING = 8
"""How many bodies may be on their way for each request that may wait."""
PLACED = "placed"
"""What is noted in the ``state`` of a request that has a place."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may ask for, and how many there may be. Each is a flag of ``finevit serve``.

    ``body_bytes``    most bytes of a request's body, counted as they arrive. base64 adds a third to an image.
    ``pixels``        most pixels of an image: read from its header, before it is decoded.
    ``prompt_chars``  most characters of all texts of a request together.
    ``max_tokens``    most tokens of an answer: a request that asks for more, or for no number, gets this many.
    ``receive_s``     seconds in which a request must have arrived.
    ``decode_s``      seconds in which an image must have been decoded, and a body understood.
    ``answer_s``      seconds in which an arrived request must have been answered, with its time in the queue.
    ``requests``      most requests at once that are waiting or being answered; bodies on their way may hold as much memory.
    ``connections``   most connections at once; fewer where the process may not have so many files open.
    """

    body_bytes: int = 32 * 2**20
    pixels: int = 40_000_000
    prompt_chars: int = 32_768
    max_tokens: int = 1024
    receive_s: float = 30.0
    decode_s: float = 10.0
    answer_s: float = 600.0
    requests: int = 64
    connections: int = 768

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"{field.name}={value}: a limit of the server must be more than 0, such as {field.default}")


class Refusal(ValueError):
    """A request that is not answered: an HTTP status, what is wrong and the remedy, and where in the body (``param``)."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


class Places:
    """Counts the requests that have arrived; whoever comes when there are too many is asked to come again."""

    def __init__(self, *, limit: int) -> None:
        self.limit, self.taken = limit, 0

    @contextmanager
    def take(self, request: Request) -> Iterator[None]:
        """A place, until the request is answered, refused or given up."""
        if self.taken >= self.limit:
            message = f"the server has its {self.limit} requests (--max-requests) already; ask again in a second"
            raise Refusal(message, status=429, code="rate_limit_exceeded")
        self.taken += 1
        setattr(request.state, PLACED, True)
        try:
            yield
        finally:
            self.taken -= 1


class Arrivals:
    """Bodies on their way. Where they are too many or hold too much, the first are given up: slow ones shut nobody out."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held: dict[asyncio.Timeout, int] = {}

    async def receive(self, request: Request) -> bytes:
        """The body of a request, of which no more than ``body_bytes`` are ever kept, whatever its headers announce."""
        body, limits = bytearray(), self.limits
        if int(request.headers.get("content-length", 0)) > limits.body_bytes:
            raise Refusal(_too_large(limits), status=413)
        try:
            async with asyncio.timeout(limits.receive_s) as time:
                try:
                    self.held[time] = 0
                    async for part in request.stream():
                        body += part
                        if len(body) > limits.body_bytes:
                            raise Refusal(_too_large(limits), status=413)
                        if time in self.held:
                            self.held[time] = len(body)
                            self._make_room()
                finally:
                    self.held.pop(time, None)
        except TimeoutError:
            message = f"the body had not arrived after {limits.receive_s:g} s (--receive-seconds), or others needed its place"
            raise Refusal(f"{message}; send it faster, or a smaller one", status=408) from None
        return bytes(body)

    def _make_room(self) -> None:
        """Give up the first ones, until the rest is within the limits."""
        most = self.limits.requests
        while len(self.held) > ARRIVING * most or sum(self.held.values()) > most * self.limits.body_bytes:
            first = next(iter(self.held))
            del self.held[first]
            first.reschedule(0.0)


def _too_large(limits: Limits) -> str:
    megabytes = limits.body_bytes / 2**20
    return f"the body has more than {megabytes:g} MB (--max-body-mb); send a smaller image, or one that is compressed harder"
