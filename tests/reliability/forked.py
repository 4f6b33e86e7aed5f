"""Commands in children of a process that has imported what the tools need: seconds less than a start; see ``forks.py``.

A request is JSON: ``argv`` (a tool and its arguments), ``log`` (a file for what it prints), ``environment``,
``limits`` (of ``resource``, by name), ``stdin`` (a file), ``small`` (folders that get so few bytes, for the child alone) and ``at``
(what the child has run, once, when it opens a file whose path matches a pattern to write it). It answers with the child's process
id and, once it has ended, its code.
"""

import ctypes
import importlib
import json
import os
import re
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from forks import NEEDED, serve

ROOT = Path(__file__).resolve().parents[2]
OF_TOOLS = ("finevit.engine.test_run", "finevit.evaluation.probes.run", "finevit.export.run", "finevit.serving.app")
HUNG = -int(signal.SIGKILL)
"""The code of a command that had not ended in time."""
CLONE_NEWNS = 0x00020000
"""Of Linux: a process with mounts of its own."""


class Forked:
    """Runs tools; see the module."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._server = subprocess.Popen([sys.executable, __file__], cwd=ROOT, env=environment, text=True, **pipes)
        assert self._line() == "ready"

    def _line(self) -> str:
        return self._server.stdout.readline().strip()

    def run(
        self,
        *argv: object,
        log: Path,
        seconds: float = 60,
        environment: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        stdin: str = os.devnull,
        small: Mapping[str, int] | None = None,
        at: tuple[str, list[str]] | None = None,
    ) -> tuple[int, str]:
        """A tool, such as ``train``, with its arguments: its code (``HUNG`` after so many seconds) and what it printed."""
        asked = {"argv": [str(each) for each in argv], "log": str(log), "environment": dict(environment or {}), "at": at}
        asked |= {"limits": dict(limits or {}), "stdin": stdin, "small": dict(small or {})}
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        late = Timer(seconds, os.killpg, (int(self._line()), signal.SIGKILL))
        late.start()
        code = int(self._line())
        late.cancel()
        return code, log.read_text(errors="replace")

    def close(self) -> None:
        """Ends the process."""
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()


@contextmanager
def forked() -> Iterator[Forked]:
    """One for a trial."""
    made = Forked()
    try:
        yield made
    finally:
        made.close()


def _become(asked: dict) -> None:
    """Has this process be as if it had been started with a command."""
    os.setsid()
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(asked["stdin"], os.O_RDONLY | os.O_NONBLOCK), 0)
    os.environ |= asked["environment"]
    tempfile.tempdir = None
    for name, most in asked["limits"].items():
        resource.setrlimit(getattr(resource, name), (most, most))
    if asked["small"]:
        _mount(asked["small"])
    if asked["at"]:
        _arm(*asked["at"])
    tool, *arguments = asked["argv"]
    sys.argv = [f"tools/{tool}.py", *arguments]


def _mount(small: Mapping[str, int]) -> None:
    """Gives this process folders of its own; for root alone."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for folder, size in small.items():
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)


def _arm(pattern: str, command: list[str]) -> None:
    """Has ``command`` run when a file of a matching path is opened to be written."""
    armed = [command]

    def watch(event: str, arguments: tuple) -> None:
        if event == "open" and armed and arguments[2] & (os.O_WRONLY | os.O_RDWR) and re.search(pattern, str(arguments[0])):
            subprocess.run(armed.pop(), check=False, capture_output=True)

    sys.addaudithook(watch)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    for needed in (*NEEDED, *OF_TOOLS):
        importlib.import_module(needed)
    print("ready", flush=True)
    if asked := serve():
        _become(asked)
        runpy.run_path(str(ROOT / f"tools/{asked['argv'][0]}.py"), run_name="__main__")
