"""Who is next: small pieces of work before large ones, those that have waited before those that come."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MEBIBYTE_S = 10.0
"""Seconds of waiting that make up for a MiB of size."""


class Order:
    """At most ``most`` at once. Who is cancelled while it waits leaves."""

    def __init__(self, most: int) -> None:
        self.free = most
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    @asynccontextmanager
    async def turn(self, size: int) -> AsyncIterator[None]:
        """The turn of a piece of work of so many bytes, until it is done."""
        loop = asyncio.get_running_loop()
        self._count += 1
        mine = loop.create_future()
        heapq.heappush(self._waiting, (loop.time() + MEBIBYTE_S * size / 2**20, self._count, mine))
        self._next()
        try:
            await mine
            yield
        finally:
            if mine.done() and not mine.cancelled():
                self.free += 1
                self._next()

    def _next(self) -> None:
        while self.free and self._waiting:
            *_, first = heapq.heappop(self._waiting)
            if not first.done():
                self.free -= 1
                first.set_result(None)
