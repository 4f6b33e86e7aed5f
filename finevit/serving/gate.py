"""Requests begin a few at a time: in a flood the event loop stays quick for those that have begun."""

import asyncio
from collections import deque

from starlette.types import ASGIApp, Receive, Scope, Send

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
