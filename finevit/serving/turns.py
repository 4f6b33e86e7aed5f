"""Work for a thread beside the event loop, one piece at a time, and what becomes of it when nobody waits any more."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from finevit.serving.limits import Refusal

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
