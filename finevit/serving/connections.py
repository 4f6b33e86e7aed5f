"""Connections that wait for their clients within bounds: of number, of time, of what they may send at once."""

import asyncio
import json
import logging
import re
import resource
from itertools import islice

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from finevit.serving import messages
from finevit.serving.limits import PLACED

RESERVE = 128
"""Open files that are no connections: the model's, the log's, and connections that are accepted before others are closed."""
HEAD = 64 * 2**10
"""Most bytes of the head of a request."""
SPARE, PART = 256, 128
"""Parts of a body that may be small, and the bytes that the others must have on average: each costs time of the event loop."""
LINGER_S = 2.0
"""Seconds in which a client reads what was last said to it, while what it sends is dropped."""
IDLE = 4
"""How much sooner a connection is given up while it asks nothing."""
TOLD_S = 10.0
"""Seconds from the first connection that was given up to the line in the log that counts them."""

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_log = logging.getLogger("uvicorn.error")


def most_connections(wanted: int) -> int:
    """As many as the process may have files open; ``ValueError`` where these are too few to serve anybody."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return wanted
    if files < RESERVE + 16:
        raise ValueError(f"{files} files may be open at once, which is too few to serve; raise the limit: ulimit -n {8 * RESERVE}")
    return min(wanted, files - RESERVE)


class Connections:
    """Those that are open. Where there are more than ``most``, the one that has waited longest for its client is given up.

    That is one whose client asks nothing, or does not read; one that has waited ``IDLE`` times as long for a request to arrive; or
    one that asks one thing after the other. One whose request has a place, of which there are ``Limits.requests``, stays.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.idle: dict[Connection, float] = {}
        self.arriving: dict[Connection, float] = {}
        self.busy: dict[Connection, float] = {}
        self.given_up = 0

    def __len__(self) -> int:
        return len(self.idle) + len(self.arriving) + len(self.busy)

    def put(self, connection: "Connection", place: "dict[Connection, float]") -> None:
        """``place`` is one of ``idle``, ``arriving`` and ``busy``; who is there already keeps its time of waiting."""
        if connection not in place:
            self.remove(connection)
            place[connection] = connection.loop.time()

    def remove(self, connection: "Connection") -> None:
        """It is closed."""
        for place in (self.idle, self.arriving, self.busy):
            place.pop(connection, None)

    def enter(self, connection: "Connection") -> None:
        """A new one, for which others may have to go; it goes itself where all have a place."""
        self.put(connection, self.idle)
        while len(self) > self.most:
            self._give_up(self._first(connection.loop.time()))

    def _first(self, now: float) -> "Connection":
        """The one to go."""
        asking = ((busy, since) for busy, since in self.busy.items() if not busy.placed)
        firsts = (*islice(self.idle.items(), 1), *islice(self.arriving.items(), 1), *islice(asking, 1))
        return max(firsts, key=lambda first: (now - first[1]) * (IDLE if first[0] in self.idle else 1))[0]

    def _give_up(self, connection: "Connection") -> None:
        self.remove(connection)
        connection.transport.abort()
        if not self.given_up:
            connection.loop.call_later(TOLD_S, self.tell)
        self.given_up += 1

    def tell(self) -> None:
        """One line for all that were given up since the last."""
        if self.given_up:
            _log.warning(
                "%d connections given up for others: at most %d are kept (--max-connections, ulimit -n); first those that had "
                "waited longest without a request",
                *(self.given_up, self.most),
            )
            self.given_up = 0


class Wire(h11.Connection):
    """HTTP/1.1, without bodies in countless tiny parts."""

    parts = sent = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """What the client says next."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.parts = self.sent = 0
        elif isinstance(event, h11.Data):
            self.parts += 1
            self.sent += len(event.data)
            if self.parts > SPARE + self.sent // PART:
                raise h11.RemoteProtocolError("body in too many parts")
        return event


class Connection(H11Protocol):
    """Closes when ``seconds`` pass between the first and the last byte of a request, without one, or without its answer being read.

    uvicorn itself waits forever for the end of a header that drips in, of the body of a request that it has refused, and for
    clients that do not read.
    """

    seconds: float
    room: Connections
    _deadline: asyncio.TimerHandle | None = None
    _dropping = False

    @property
    def placed(self) -> bool:
        """Whether the application does the work that its request asks for."""
        return bool(self.cycle.scope["state"].get(PLACED))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The time of the first request begins."""
        super().connection_made(transport)
        self.conn = Wire(h11.SERVER)
        self._wait(self.seconds)
        self.room.enter(self)

    def data_received(self, data: bytes) -> None:
        """A request goes on, or has arrived."""
        if self._dropping:
            return
        if self.conn.their_state is h11.IDLE and len(data) > HEAD and not _END_OF_HEAD.search(data, 0, HEAD):
            self.send_400_response(f"the head of the request has more than {HEAD:,} bytes; send a shorter one")
            return
        super().data_received(data)
        if self._dropping or self.flow.write_paused:
            return
        self._wait_or_stop()
        self._settle()

    def on_response_complete(self) -> None:
        """The next request may come."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._wait(self.seconds)
        self._settle()

    def pause_writing(self) -> None:
        """The client does not read what it is sent."""
        super().pause_writing()
        self._wait(self.seconds)
        self._settle()

    def resume_writing(self) -> None:
        """It reads on."""
        super().resume_writing()
        self._stop()
        self._wait_or_stop()
        self._settle()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came after an answer, which the client may not even have read."""
        super().timeout_keep_alive_handler()
        self._wait(LINGER_S)

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong where no answer has begun; drop what comes still, so that the client can read it."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not self.transport.is_closing():
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self.transport.write(_bad_request(msg))
            self.transport.write_eof()
        self._dropping = True
        self.flow.resume_reading()
        self._wait(LINGER_S)
        self.room.put(self, self.room.idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop()
        self.room.remove(self)
        super().connection_lost(exc)

    def _settle(self) -> None:
        """What the connection waits for: its client, or the server."""
        room, cycle = self.room, self.cycle
        if cycle is None or cycle.response_complete or self.flow.write_paused:
            room.put(self, room.idle)
        else:
            room.put(self, room.arriving if cycle.more_body else room.busy)

    def _wait_or_stop(self) -> None:
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop()
        elif self._deadline is None:
            self._wait(self.seconds)

    def _wait(self, seconds: float) -> None:
        self._stop()
        self._deadline = self.loop.call_later(seconds, self._close)

    def _close(self) -> None:
        """Without waiting for the client to read. What has begun is refused by the application, which may be late in a flood."""
        cycle = self.cycle
        if not self._dropping and cycle is not None and not cycle.response_started and not cycle.disconnected:
            self._wait(LINGER_S)
        elif self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _bad_request(message: str) -> bytes:
    body = json.dumps(messages.error(message, status=400)).encode()
    head = "HTTP/1.1 400 Bad Request", "content-type: application/json", f"content-length: {len(body)}", "connection: close"
    return "\r\n".join((*head, "", "")).encode() + body
