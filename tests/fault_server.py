"""An endpoint of chat completions that fails as it is told to, the same way for the same seed, and counts what it is asked.

It speaks HTTP by hand, because it has to drop connections and to send half of an answer.
"""

import asyncio
import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import contextmanager

CAPTION = "A red car stands in front of a small house with a green door, and two children play beside it on the grass."
FAULTS = (
    *(
        "slow",
        "400",
        "429",
        "500",
        "truncated",
        "refusal",
        "loop",
        "not_json",
        "html",
        "reasoning",
        "empty",
        "null",
        "drop",
        "half",
    ),
    *("filter", "no_choices"),
)
STATUS = {
    "slow": "timeout",
    "400": "bad_request",
    "401": "bad_request",
    "404": "bad_request",
    "429": "rate_limited",
    "500": "server_error",
    "truncated": "truncated",
    "refusal": "refused",
    "loop": "repetition",
    "not_json": "malformed",
    "html": "malformed",
    "reasoning": "reasoning_only",
    "empty": "empty",
    "null": "empty",
    "drop": "connection",
    "half": "connection",
    "filter": "content_filter",
    "no_choices": "malformed",
}
"""What a request ends with that meets a fault at every attempt."""
AGAIN = ("timeout", "rate_limited", "server_error", "malformed", "connection")
"""Statuses that the client tries again by itself."""
UNPAID = ("drop", "400", "401", "403", "404", "429", "500", "not_json", "html", "no_choices")
"""Faults that come before the model does anything."""


class FaultServer:
    """``faults`` are rates by name; ``says`` makes the text of an answer out of a request's body. ``asked`` counts requests by
    body, ``paid`` those that got an answer of a model, ``most`` is how many were dealt with at once."""

    def __init__(
        self,
        faults: Mapping[str, float] = {},
        *,
        seed: int = 0,
        says: Callable[[dict], str] = lambda body: CAPTION,
        slow_s: float = 5.0,
        headers: str = "",
        hold_s: float = 0.0,
        message: str = "as told",
    ) -> None:
        self.faults, self.seed, self.says, self.slow_s, self.headers = faults, seed, says, slow_s, headers
        self.hold_s, self.message = hold_s, message
        self.asked: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.order: list[dict] = []
        self.seen_headers: list[str] = []
        self.open = self.most = 0
        self.url = ""

    def fault(self, body: bytes, attempt: int) -> str:
        """Which fault a body meets at an attempt, "" for none."""
        key = f"{self.seed} {attempt} ".encode() + hashlib.sha256(body).digest()
        at = random.Random(key).random()
        for name, rate in self.faults.items():
            at -= rate
            if at < 0:
                return name
        return ""

    def planned(self, body: bytes, attempts: int) -> tuple[str, int]:
        """The status that a body ends with after so many attempts, and how many of these are paid for."""
        paid = 0
        for attempt in range(attempts):
            fault = self.fault(body, attempt)
            status = STATUS.get(fault, "ok")
            paid += fault not in UNPAID
            if status not in AGAIN:
                break
        return status, paid

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = next(int(line[15:]) for line in head.decode().lower().split("\r\n") if line.startswith("content-length:"))
                self.seen_headers.append(head.decode())
                self.open += 1
                self.most = max(self.most, self.open)
                try:
                    if not await self.respond(await reader.readexactly(size), reader, writer):
                        return
                finally:
                    self.open -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def respond(self, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open."""
        name = hashlib.sha256(body).hexdigest()
        fault = self.fault(body, self.asked[name])
        self.asked[name] += 1
        self.order.append(json.loads(body))
        until = asyncio.get_running_loop().time() + (self.slow_s if fault == "slow" else self.hold_s)
        while not reader.at_eof() and (rest := until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(rest, 0.02))
        if fault == "drop" or reader.at_eof():
            return False
        if fault in ("400", "401", "403", "404", "429", "500"):
            return await self.send(writer, int(fault), json.dumps({"error": {"message": self.message}}))
        if fault in ("not_json", "html", "no_choices"):
            texts = {"not_json": '{"choices": [', "html": "<html>gateway</html>", "no_choices": '{"object": "error"}'}
            return await self.send(writer, 200, texts[fault])
        self.paid[name] += 1
        text = json.dumps(self.completion(self.says(json.loads(body)), fault))
        if fault == "half":
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(text) + 100}\r\n\r\n{text}".encode())
            await writer.drain()
            return False
        return await self.send(writer, 200, text)

    def completion(self, text: str, fault: str) -> dict:
        said = {"refusal": "I’m sorry, but I can’t help with that.", "loop": "the red car and " * 60, "empty": "  ", "null": None}
        message = {"role": "assistant", "content": said.get(fault, text)}
        if fault == "reasoning":
            message |= {"content": None, "reasoning_content": "The image shows a car."}
        if fault == "truncated":
            message["content"] = text[: len(text) // 2]
        reason = {"truncated": "length", "filter": "content_filter"}.get(fault, "stop")
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20},
        }

    async def send(self, writer: asyncio.StreamWriter, code: int, text: str) -> bool:
        data = text.encode()
        writer.write(f"HTTP/1.1 {code} X\r\ncontent-length: {len(data)}\r\n{self.headers}\r\n".encode() + data)
        await writer.drain()
        return True


@contextmanager
def serving(server: FaultServer):
    """The server, while it runs on a thread; ``url`` is its address."""
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(asyncio.start_server(server.serve, "127.0.0.1", 0, limit=2**24))
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(_stop, loop)
        thread.join()
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    async def end() -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # connections close
        loop.stop()

    loop.create_task(end())
