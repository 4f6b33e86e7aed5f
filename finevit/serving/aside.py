"""Work on what strangers send, in processes beside the server, which are ended when it takes too long or too much memory."""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.forkserver
import pickle
import resource
import signal
import socket
import struct
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from finevit.contracts import BadSample
from finevit.serving.limits import Refusal
from finevit.serving.queues import Order

T = TypeVar("T")
_LENGTHS = struct.Struct(">QQ")


class TooSlow(Exception):
    """The time of a piece of work is over, and so is its process."""


class Lane:
    """A process that does one piece of work at a time, small ones first. One that is ended makes room for a new one.

    Args:
        seconds: that a piece of work may take.
        memory: bytes that the process may take for its work.
    """

    def __init__(self, *, seconds: float, memory: int) -> None:
        self.seconds, self.memory, self.order = seconds, memory, Order(1)
        self._process: tuple[multiprocessing.process.BaseProcess, socket.socket] | None = None

    def start(self) -> socket.socket:
        """The process is there when this returns: what it listens to."""
        prepare()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = multiprocessing.get_context("forkserver").Process(target=_work, args=(theirs, self.memory), daemon=True)
            process.start()
        self._process = process, ours
        return ours

    async def run(self, work: Callable[[], T], *, size: int) -> T:
        """What the work returns, or raises; ``TooSlow``, or a ``Refusal`` where its process came to an end."""
        async with self.order.turn(size):
            ours = self._process[1] if self._process else self.start()
            try:
                async with asyncio.timeout(self.seconds):
                    await _send(ours, work)
                    done, result = await _receive(ours)
            except TimeoutError:
                self.end()
                raise TooSlow from None
            except OSError:
                self.end()
                raise Refusal("reading the request took too much memory or broke what reads it; send another image") from None
            except BaseException:
                self.end()
                raise
        if not done:
            raise result
        return result

    def end(self) -> None:
        """Whatever the process does."""
        if self._process is not None:
            process, ours = self._process
            ours.close()
            process.kill()
            self._process = None


def prepare() -> None:
    """Start what starts processes: it loads what they need once, which takes seconds, and makes each in milliseconds."""
    modules = ["__main__", "finevit.serving.aside", "finevit.serving.messages", "finevit.datasets.decoding.images"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(modules)
    multiprocessing.forkserver.ensure_running()


async def _send(ours: socket.socket, work: Callable[[], Any]) -> None:
    data = pickle.dumps(work)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(ours, struct.pack(">Q", len(data)))
    await loop.sock_sendall(ours, data)


async def _receive(ours: socket.socket) -> tuple[bool, Any]:
    data, pixels = (bytearray(length) for length in _LENGTHS.unpack(await _exactly(ours, bytearray(_LENGTHS.size))))
    await _exactly(ours, data)
    return pickle.loads(data, buffers=[await _exactly(ours, pixels)] if pixels else [])


async def _exactly(ours: socket.socket, into: bytearray) -> bytearray:
    view, loop = memoryview(into), asyncio.get_running_loop()
    while view:
        count = await loop.sock_recv_into(ours, view)
        if not count:
            raise ConnectionError("the process has ended")
        view = view[count:]
    return into


def _work(theirs: socket.socket, memory: int) -> None:
    """In the process: until the server closes its end. Pixels follow what is pickled, so that they are not copied."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this one
    _bound(memory)
    with contextlib.suppress(OSError), theirs, theirs.makefile("rb") as asked:
        while head := asked.read(8):
            buffers: list[pickle.PickleBuffer] = []
            done = _done(pickle.loads(asked.read(struct.unpack(">Q", head)[0])))
            data = pickle.dumps(done, protocol=5, buffer_callback=buffers.append)
            (pixels,) = buffers or [pickle.PickleBuffer(b"")]
            theirs.sendall(_LENGTHS.pack(len(data), pixels.raw().nbytes))
            theirs.sendall(data)
            theirs.sendall(pixels.raw())
            del done, data, buffers, pixels


def _done(work: Callable[[], Any]) -> tuple[bool, Any]:
    """Whether the work succeeded, and what it returned or raised."""
    try:
        return True, work()
    except (Refusal, BadSample) as error:
        return False, error
    except Exception:
        return False, RuntimeError(f"in the process that reads requests:\n{traceback.format_exc()}")


def _bound(memory: int) -> None:
    """More memory than there is now is for the work alone; where the system does not say how much that is, there is no bound."""
    sizes = Path("/proc/self/statm")
    if sizes.exists():
        most = int(sizes.read_text().split()[0]) * resource.getpagesize() + memory
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
