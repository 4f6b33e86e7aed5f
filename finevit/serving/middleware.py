"""ASGI middleware: requests begin a few at a time, and answers reach clients that are still sending."""

import asyncio
from collections import deque

from starlette.types import ASGIApp, Message, Receive, Scope, Send

AT_ONCE = 4
"""Requests that begin in one turn of the event loop."""


class Gate:
    """An ASGI middleware: first come, first served. A client that sends one request behind the other waits again for each."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by uvicorn for each request."""
        if scope["type"] == "http":
            await self._turn()
        await self.app(scope, receive, send)

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_soon(self._open, loop)
        self.waiting.append(mine := loop.create_future())
        await mine

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(AT_ONCE, len(self.waiting))):
            if not (first := self.waiting.popleft()).done():
                first.set_result(None)
        if self.waiting:
            loop.call_soon(self._open, loop)


SILENT_S = 3.0
"""Seconds without a byte after which the rest of a request is waited for no longer."""


class Lingering:
    """An ASGI middleware that reads and drops the rest of a request between the last byte of the answer and its end.

    A connection that is closed while bytes come in is reset, and the client may never see the answer. The time is bounded by the
    connection's: it is given to the request as a whole.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by uvicorn for each request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        arrived = False

        async def received() -> Message:
            nonlocal arrived
            message = await receive()
            arrived = arrived or not message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            if arrived or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            await send({**message, "more_body": True})
            while not arrived:
                try:
                    await asyncio.wait_for(received(), SILENT_S)
                except TimeoutError:
                    break
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self.app(scope, received, sent)
