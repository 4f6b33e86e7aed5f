"""Servers that a run needs, such as a captioner's: started before it, waited for, and ended with it.

A config says ``services = dict(vlm=dict(command=["vllm", "serve", ..., "--port", "{port}"], ready="/health"))``, and an engine
``base_url="service:vlm/v1"``.
"""

import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

PREFIX = "service:"
_NAME = re.compile(r"service:([A-Za-z_]\w*)")


@contextmanager
def serving(settings: Mapping[str, Any], logs: Path) -> Iterator[dict[str, Any]]:
    """The settings with addresses in place of ``service:NAME``, while the services run. ``ValueError`` where one does not start."""
    services = settings.get("services") or {}
    with ExitStack() as held:
        ports = {name: held.enter_context(_service(name, each, logs)) for name, each in services.items()}
        yield _told(settings, ports)


def _told(value: Any, ports: Mapping[str, int]) -> Any:
    if isinstance(value, Mapping):
        return {name: _told(item, ports) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_told(item, ports) for item in value]
    if isinstance(value, str) and (found := _NAME.match(value)):
        if found[1] not in ports:
            raise ValueError(f"{value!r}: there is no service {found[1]!r}; there are {', '.join(ports) or 'none'}: see services")
        return f"http://127.0.0.1:{ports[found[1]]}{value[found.end() :]}"
    return value


@contextmanager
def _service(name: str, service: Mapping[str, Any], logs: Path) -> Iterator[int]:
    if odd := set(service) - {"command", "ready", "seconds"}:
        raise ValueError(f"services.{name}.{sorted(odd)[0]} is no known setting; they are command, ready, seconds")
    command, ready, patience = service["command"], service.get("ready", "/health"), service.get("seconds", 600)
    port = _free_port()
    words = shlex.split(command) if isinstance(command, str) else command
    words = [word.replace("{port}", str(port)).replace("{python}", sys.executable) for word in words]
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{name}.log"
    with log.open("ab") as file:
        try:
            process = subprocess.Popen(
                words, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_parent
            )
        except OSError as error:
            raise ValueError(f"services.{name}.command: {words[0]!r} cannot be started ({error.strerror}); install it") from None
    try:
        _wait(name, process, f"http://127.0.0.1:{port}{ready}", patience, log)
        yield port
    finally:
        _end(process)


def _end_with_parent() -> None:
    """In the new process: Linux ends it where this one is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _wait(name: str, process: subprocess.Popen, address: str, patience: float, log: Path) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if process.poll() is not None:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise ValueError(f"services.{name} ended with status {process.returncode} before it was ready; {log} says:\n{tail}")
        try:
            with urlopen(address, timeout=5) as response:
                if response.status < 400:
                    return
        except (URLError, OSError):
            time.sleep(0.2)
    raise ValueError(f"services.{name} is not ready at {address} after {patience:g} s; see {log}, or give it more seconds")


def _end(process: subprocess.Popen) -> None:
    """The service and what it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
