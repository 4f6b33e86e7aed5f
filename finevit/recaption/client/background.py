"""The event loop of a process on a thread of its own, and the one HTTP client that lives on it."""

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

import httpx

from finevit.recaption.client.options import CONNECTIONS

LOCAL = ("localhost", "127.0.0.1", "[::1]")
"""Never asked through a proxy."""


class Background:
    """A loop that runs until the process ends; ``client`` is used on it alone."""

    def __init__(self) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log a line a request
        self.loop = asyncio.new_event_loop()
        self.client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=15.0),
            timeout=None,  # each request has its own
            follow_redirects=False,  # they would carry images to another place
            mounts=dict.fromkeys([f"all://{host}" for host in LOCAL]),
        )
        threading.Thread(target=self.loop.run_forever, name="finevit-client", daemon=True).start()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Future:
        """Runs a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)


_lock = threading.Lock()
_running: list[Background] = []


def background() -> Background:
    """That of this process, started when it is first asked for."""
    with _lock:
        if not _running:
            _running.append(Background())
        return _running[0]


_inherited: list[Background] = []
"""Those of processes before a fork: without their threads, and kept, so that nothing closes what others use."""


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    _inherited.extend(_running)
    _running.clear()


os.register_at_fork(after_in_child=_forget)
