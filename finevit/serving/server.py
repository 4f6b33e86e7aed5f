"""The application on a socket, by uvicorn, with connections that are given up when a request does not arrive in time."""

import asyncio
import ipaddress
import socket

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from finevit.serving.limits import Limits


class TimedConnection(H11Protocol):
    """Closes when ``seconds`` pass between the first and the last byte of a request, or without one.

    uvicorn itself waits forever for the end of a header that drips in, or of the body of a request that it has refused.
    """

    seconds: float
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The time of the first request begins."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.seconds, transport.close)

    def data_received(self, data: bytes) -> None:
        """A request goes on, or has arrived."""
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.seconds, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop()
        super().connection_lost(exc)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def make_server(app: Starlette, *, host: str, port: int, limits: Limits) -> uvicorn.Server:
    """A server, whose ``run`` returns when it is stopped. The connection's time is a second more than the body's."""

    class Connection(TimedConnection):
        seconds = limits.receive_s + 1

    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=Connection,
            ws="none",
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )


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
