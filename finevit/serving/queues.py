"""Who is next, and work for a thread beside the event loop, one piece at a time."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from finevit.serving.limits import Refusal

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


T = TypeVar("T")


class Turns:
    """A model answers one request at a time, first come first served, in a thread of its own.

    Who is cancelled while it waits leaves the queue at once. Work that has begun cannot be stopped: it goes on unheard, and the
    next one begins when it has ended.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="answers")

    async def run(self, work: Callable[[], T]) -> T:
        """What the work returns, when it is its turn."""
        await self._turn.acquire()
        try:
            future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError:  # the server ends
            self._turn.release()
            raise
        future.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(future)

    def close(self) -> None:
        """Take no more work; what has begun ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)


async def while_waited_for(request: Request, work: Coroutine[Any, Any, T], seconds: float, ending: asyncio.Event) -> T:
    """What the work returns; it is cancelled when the client goes away, after a time, or when the server ends."""
    task, gone, end = asyncio.create_task(work), asyncio.create_task(_disconnected(request)), asyncio.create_task(_set(ending))
    try:
        done, _ = await asyncio.wait((task, gone, end), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waited in (gone, end):
            waited.cancel()
        task.cancel()
        await asyncio.gather(task, gone, end, return_exceptions=True)
    if task in done:
        return task.result()
    if gone in done:
        raise ClientDisconnect
    if end in done:
        raise Refusal("the server ends; ask again when it is there again", status=503)
    remedy = "send fewer requests at once or ask for fewer max_tokens"
    raise Refusal(f"there was no answer within {seconds:g} s (--answer-seconds), with the time in the queue; {remedy}", status=504)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _set(event: asyncio.Event) -> None:
    await event.wait()
