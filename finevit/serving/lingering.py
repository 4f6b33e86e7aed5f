"""An answer that comes before its request has arrived is sent at once, and reaches clients that are still sending."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
