"""What SIGTERM, SIGINT and SIGHUP do: a command ends with one line and 128 + the signal; a training run saves first.

Of Python's standard library alone, so that a command can listen before anything heavy is imported. A signal that was ignored when
the process began (``nohup``, or SIGINT of a shell's background job) stays ignored.
"""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TOGETHER = 0.3
"""Signals within so many seconds are one request: ``timeout``, a terminal and launchers signal a process and its group."""


class Interrupted(KeyboardInterrupt):
    """A signal that ends the command, raised where nothing is left half done."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name, self.code = signal.Signals(number).name, 128 + number


class Stuck(BaseException):
    """A loader has yielded nothing for too long. Readers that pass over all that is wrong with a sample let it through."""


@contextmanager
def raised() -> Iterator[None]:
    """While a tool works each signal raises ``Interrupted`` in it, so that what is half written is removed."""
    with _handled(_raise):
        try:
            yield
        except Exception as error:
            if interrupted := _behind(error):
                raise interrupted from None
            raise


def _behind(error: BaseException | None) -> BaseException | None:
    """The signal of which a bare ``except`` made another error, as MMEngine's around the formatting of a config."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error


class Asked:
    """Whether a signal has asked a training run to end. The run looks at ``number`` where it can save; see ``listening``.

    A thread hears of signals at once, also where the main thread is in a long operation. The first one is noted and told; one that
    comes later, or before ``saves`` is set, when there is nothing to save, ends the process on the spot.
    """

    def __init__(self) -> None:
        self.number = 0
        self.saves = False
        self.waits: Callable[[], bool] = lambda: False
        """Whether the main thread waits between two steps, where it can be interrupted."""
        self._told = threading.Event()
        self._told.set()
        self._heard = 0.0

    @contextmanager
    def listening(self) -> Iterator["Asked"]:
        """Hears signals; in the main thread alone."""
        reads, writes = os.pipe()
        os.set_blocking(writes, False)
        self._told.clear()
        with _handled(self._break_off):
            before = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(reads,), name="signals", daemon=True).start()
            try:
                yield self
            finally:
                signal.set_wakeup_fd(before)
                os.close(writes)

    def raise_if_asked(self) -> None:
        """Called between two steps."""
        if self.number:
            raise Interrupted(self.number)

    def wait_until_told(self) -> None:
        """What becomes of a signal is said after its own line."""
        self._told.wait(1)

    def _break_off(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        if self.saves and self.waits():
            self.waits = lambda: False
            raise Interrupted(self.number)

    def _listen(self, pipe: int) -> None:
        while numbers := os.read(pipe, 64):
            for number in numbers:
                if number in ENDING:
                    self._hear(number)
        os.close(pipe)

    def _hear(self, number: int) -> None:
        name = signal.Signals(number).name
        if not self.saves:
            leave(128 + number, f"{name} before the first step: there is nothing to save; the same command starts again")
        elif not self._heard:
            self._heard, self.number = time.monotonic(), self.number or number
            tell(f"{name}: ends after the step in progress, with a checkpoint; a second signal ends at once, without")
            self._told.set()
        elif time.monotonic() - self._heard > TOGETHER:
            going_on = "to go on from the newest checkpoint: the same command with --resume"
            leave(128 + self.number, f"{name} again: ended at once; {going_on}")


def tell(line: str) -> None:
    """Writes a line for people that needs no lock of a logger, which another thread may hold."""
    with suppress(OSError):
        os.write(2, ("\n" * os.isatty(2) + line + "\n").encode())


def leave(code: int, line: str) -> None:
    """Ends the process and its workers on the spot, from any thread."""
    tell(line)
    with suppress(OSError, ValueError):
        if sys.stdout.isatty():
            os.write(1, b"\x1b[?25h")  # the cursor, which a bar hides
    kill_workers(0)
    os._exit(code)


def end_workers(code: int, line: str = "a worker does not end, not even by SIGKILL; left without it") -> None:
    """Kills the workers. One that cannot be killed would hold the process where Python waits for it: then it leaves at once."""
    if not kill_workers():
        leave(code, line)


def in_main_thread() -> bool:
    """Whether this is the thread that alone hears signals."""
    return threading.current_thread() is threading.main_thread()


def kill_workers(seconds: float = 5.0) -> bool:
    """Kills the worker processes, stopped ones too, which nothing less ends; whether all are gone after so many seconds."""
    if in_main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would raise that they died
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.kill()
    _forget_loaders()
    for worker in workers if seconds else ():
        worker.join(seconds)
    return not any(worker.is_alive() for worker in workers)


def _forget_loaders() -> None:
    """Torch waits for killed workers no more: one may have died with the lock of an event that the end of its loader sets."""
    torch: Any = sys.modules.get("torch.utils.data.dataloader")
    for each in gc.get_objects() if torch else ():
        if type(each) is torch._MultiProcessingDataLoaderIter and not each._shutdown:
            each._shutdown = True
            torch._utils.signal_handling._remove_worker_pids(id(each))


def ignored_by_worker() -> None:
    """In a new worker: what a terminal or ``kill`` sends to the whole group is for the main process, which ends its workers.

    SIGTERM is taken from the main process alone; a thread waits for it, for handlers are not told who sent a signal.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey, args=(os.getppid(),), name="signals", daemon=True).start()


def _obey(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


_listening = False
"""Whether signals are handled here; what is forked meanwhile must not do so."""


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Has a handler for the signals that are not ignored; the outermost one counts. Only the main thread can have one."""
    global _listening
    if _listening or not in_main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in ENDING if signal.getsignal(each) != signal.SIG_IGN}
    for each in before:
        signal.signal(each, handler)
    _listening = True
    try:
        yield
    finally:
        _listening = False
        for each, previous in before.items():
            signal.signal(each, previous)


def _before_fork() -> None:
    if _listening:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def _in_parent() -> None:
    if _listening:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _in_child() -> None:
    """A child that heard signals by its parent's pipe would end the parent."""
    global _listening
    if _listening:
        _listening = False
        signal.set_wakeup_fd(-1)
        for each in ENDING:
            if signal.getsignal(each) != signal.SIG_IGN:
                signal.signal(each, signal.SIG_DFL if each == signal.SIGTERM else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
