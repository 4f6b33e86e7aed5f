"""One request on its way: attempts, deadlines, waits, and what became of it as a status of ``finevit.recaption.contracts``."""

import asyncio
import json
import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, wait_exponential, wait_random

from finevit.recaption.client.background import background
from finevit.recaption.client.keys import api_key, masked, without
from finevit.recaption.client.options import ClientOptions
from finevit.recaption.client.reply import Reply

MOST_BYTES = 2**24
"""Of a response: no caption is as long."""
TOLD = 300
"""Characters of a server's own message that are kept."""


class Sender:
    """Sends to one address, on the loop of one process."""

    def __init__(self, url: str, options: ClientOptions) -> None:
        self.url, self.options, self.process = f"{url}/chat/completions", options, os.getpid()
        self.resume = 0.0  # when the server, which asked all to wait, may be asked again
        rate = options.requests_per_minute
        self.limiter = AsyncLimiter(1, 60 / rate) if rate else None
        self.waits = wait_exponential(multiplier=options.wait_s, max=max(30.0, options.wait_s)) + wait_random(0, options.wait_s)

    def start(self, body: bytes, texts: Sequence[str]) -> Future:
        """Begins to send a request on the loop."""
        return background().start(self.send(body, texts))

    async def send(self, body: bytes, texts: Sequence[str]) -> Reply:
        """What became of a request; ``texts`` are what it says, which no detail repeats."""
        started = time.monotonic()
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.options.attempts),
            retry=retry_if_result(lambda reply: reply.again),
            wait=self._wait,
            sleep=asyncio.sleep,
            retry_error_callback=_last,
        )
        reply: Reply = await retrying(self._attempt, body, texts)
        return replace(reply, attempts=retrying.statistics["attempt_number"], seconds=round(time.monotonic() - started, 3))

    def _wait(self, state: RetryCallState) -> float:
        """Until the next attempt: what the server says, or longer and longer."""
        return max(_last(state).wait, self.waits(state))

    async def _attempt(self, body: bytes, texts: Sequence[str]) -> Reply:
        await self._turn()
        key = api_key(self.options.api_key_env)
        try:
            async with asyncio.timeout(self.options.deadline_s):
                reply = await self._posted(body, key)
        except httpx.ConnectTimeout:
            reply = Reply("connection", f"no connection within {self.options.connect_s:g} s", again=True)
        except (TimeoutError, httpx.TimeoutException):
            reply = Reply("timeout", f"no answer within {self.options.deadline_s:g} s", again=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            status = "malformed" if isinstance(error, httpx.DecodingError) else "connection"
            reply = Reply(status, f"{type(error).__name__}: {error}".removesuffix(": "), again=True)
        return replace(reply, detail=without(reply.detail, key, texts)[:TOLD])

    async def _turn(self) -> None:
        """Waits as the limit of requests, or a server that asked all to wait, demands."""
        while (rest := self.resume - time.monotonic()) > 0:
            await asyncio.sleep(rest + random.uniform(0, self.options.wait_s))
        if self.limiter:
            await self.limiter.acquire()

    async def _posted(self, body: bytes, key: str) -> Reply:
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        timeout = httpx.Timeout(self.options.deadline_s, connect=self.options.connect_s, pool=None)
        async with background().client.stream("POST", self.url, content=body, headers=headers, timeout=timeout) as response:
            read = bytearray()
            async for chunk in response.aiter_bytes():
                read += chunk
                if len(read) > MOST_BYTES:
                    return Reply(
                        "malformed", f"a response of more than {MOST_BYTES:,} bytes", code=response.status_code, again=True
                    )
            text = masked(read.decode("utf-8", "replace"), key)
            return self._refused(response, text) if response.status_code >= 300 else _completed(text, response.status_code)

    def _refused(self, response: httpx.Response, text: str) -> Reply:
        code, wait = response.status_code, _retry_after(response.headers.get("retry-after", ""))
        told = f"HTTP {code}: {_message(text)}".removesuffix(": ")
        if code not in (408, 429) and code < 500:
            return Reply("bad_request", told, code=code)
        status = "rate_limited" if code == 429 else "server_error"
        if wait > self.options.deadline_s:
            told = f"HTTP {code}: the server asks to wait {wait:,.0f} s, longer than client.deadline_s={self.options.deadline_s:g}"
            return Reply(status, told, code=code, wait=wait)
        self.resume = max(self.resume, time.monotonic() + wait)
        return Reply(status, told, code=code, wait=wait, again=True)


def _last(state: RetryCallState) -> Reply:
    assert state.outcome is not None
    return state.outcome.result()


def _completed(text: str, code: int) -> Reply:
    """A response that is a chat completion, else malformed."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return Reply("malformed", f"no JSON: {text[:60]!r}" if text.strip() else "an empty response", code=code, again=True)
    choices = data.get("choices") if isinstance(data, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not (isinstance(choice, dict) and isinstance(choice.get("message"), dict)):
        return Reply("malformed", f"no chat completion: {_message(text)}", code=code, again=True)
    return Reply(data=data, code=code)


def _message(text: str) -> str:
    """What a server says is wrong."""
    try:
        said = json.loads(text)
        error = said.get("error", said)
        said = error.get("message", error.get("detail", said)) if isinstance(error, dict) else error
    except (ValueError, RecursionError, AttributeError):
        said = text
    return " ".join(str(said).split())[: 4 * TOLD]


def _retry_after(value: str) -> float:
    """Seconds of a Retry-After header, a number or a date; 0 where there is none."""
    try:
        return max(0.0, min(float(value), 1e9))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
