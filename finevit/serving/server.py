"""The application on a socket, by uvicorn, with connections within bounds, and a log that clients can neither flood nor stretch."""

import asyncio
import errno
import ipaddress
import logging
import socket
import time
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from finevit.serving.connections import Connection, Connections, most_connections
from finevit.serving.limits import Limits

EVERY_S, LINES, CHARS = 10.0, 500, 300
"""At most so many lines in so many seconds from each logger; what clients wrote in them is cut at so many characters."""


class Sparing(logging.Filter):
    """Leaves lines out where there are too many, and says how many in the first one after them. Errors are never left out."""

    def __init__(self) -> None:
        super().__init__()
        self.begin, self.count = time.monotonic(), 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Called by ``logging`` for each line."""
        now, left_out = time.monotonic(), self.count - LINES
        if now - self.begin > EVERY_S:
            self.begin, self.count = now, 0
            if left_out > 0:
                logging.getLogger("uvicorn.error").warning("%s: %d lines left out", record.name, left_out)
        self.count += 1
        if isinstance(record.args, tuple):
            record.args = tuple(_cut(value) for value in record.args)
        return self.count <= LINES or record.levelno >= logging.ERROR


def _cut(value: object) -> object:
    return f"{value[:CHARS]}..." if isinstance(value, str) and len(value) > CHARS else value


def spare() -> None:
    """Keep the loggers of uvicorn within bounds."""
    for name in ("uvicorn.access", "uvicorn.error"):
        log = logging.getLogger(name)
        if not any(isinstance(known, Sparing) for known in log.filters):
            log.addFilter(Sparing())


ACCEPTED = 16
"""Connections that are accepted before the event loop goes on: all of them have a file before any other is closed."""
END_S = 4
"""Seconds that requests have from a signal to their answer; whoever answers a second later is not waited for."""
WAITING = 4096
"""Connections that the system keeps until they are accepted."""


class Server(uvicorn.Server):
    """A server that many connections neither stop nor make talkative, and that ends in time."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """It listens when this returns."""
        asyncio.get_running_loop().set_exception_handler(_told_briefly)
        await super().startup(sockets)
        for listener in (listener for server in self.servers for listener in server.sockets):
            with socket.fromfd(listener.fileno(), listener.family, listener.type) as again:
                again.listen(WAITING)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """What is being answered has some seconds; then it is refused, which its client is told."""
        asyncio.get_running_loop().call_later(END_S, self.config.app.state.endpoint.ending.set)  # type: ignore[union-attr]
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A second signal waits for nothing."""
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)


def make_server(app: Starlette, *, host: str, port: int, limits: Limits) -> Server:
    """A server, whose ``run`` returns when it is stopped. The connection's time is a second more than the body's."""

    class Bounded(Connection):
        seconds = limits.receive_s + 1
        room = Connections(most_connections(limits.connections))

    server = Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=Bounded,
            ws="none",
            lifespan="on",
            backlog=ACCEPTED,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=END_S + 1,
        )
    )
    spare()
    return server


def _told_briefly(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the system cannot give is no error of ours, and comes in floods: no traceback."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
        logging.getLogger("uvicorn.error").error("no connection can be accepted for a second: %s", error.strerror)
    else:
        loop.default_exception_handler(context)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_free(host: str, port: int) -> None:
    """Tell before the model is loaded that the server could not be reached. Raises ``ValueError`` with a remedy."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address[0], port, *address[2:]))  # getaddrinfo takes a port modulo 65,536
    except (OSError, OverflowError) as error:
        raise ValueError(f"--host {host} --port {port}: {error}; choose another port, or an address of this machine") from None
