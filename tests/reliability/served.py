"""``tools/serve.py`` as a process, with a tiny checkpoint and few files, and clients that ask it."""

import base64
import http.client
import io
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from tiny_runs import ROOT

from finevit.config.loading import load_config
from finevit.plugins import load_plugins
from finevit.registry import MODELS

CONFIG = ROOT / "configs/finevit_tiny_stage3.py"


class House:
    """A server that runs: its ``port``, its process, and what it wrote."""

    def __init__(self, port: int, process: subprocess.Popen, log: Path) -> None:
        self.port, self.process, self.log = port, process, log

    def request(self, method: str, path: str, body: bytes | None = None, seconds: float = 20) -> tuple[int, dict]:
        """Status and content of a reply, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def ask(self, image: bytes | None = None, text: str = "what is it?", **settings: object) -> tuple[int, dict]:
        """A question about an image."""
        return self.request("POST", "/v1/chat/completions", json.dumps(question(image, text, **settings)).encode())

    def memory(self) -> float:
        """MiB that the server has in memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def question(image: bytes | None = None, text: str = "what is it?", **settings: object) -> dict:
    """The body of a question."""
    url = f"data:image/png;base64,{base64.b64encode(image or picture()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}], "max_tokens": 4, **settings}


def picture(side: int = 64, kind: str = "PNG") -> bytes:
    """An honest image."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (200, 100, 50)).save(file, kind)
    return file.getvalue()


def checkpoint(folder: Path) -> Path:
    """A tiny checkpoint of Stage III, with weights that are random."""
    load_plugins()
    torch.manual_seed(0)
    path = folder / "tiny.pth"
    torch.save({"state_dict": MODELS.build(load_config(CONFIG, {}).model).state_dict()}, path)
    return path


@contextmanager
def serving(folder: Path, *flags: str, files: int = 1024) -> Iterator[House]:
    """A server that may have so many files open."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = folder / "serve.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tools/serve.py"), str(CONFIG), str(checkpoint(folder)), "--port", str(port), *flags],
            **{"cwd": ROOT, "env": os.environ | {"OMP_NUM_THREADS": "1"}, "stdout": file, "stderr": file},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])),
        )
    try:
        house = House(port, process, log)
        _wait(house)
        yield house
    finally:
        process.terminate()
        process.wait(30)


def _wait(house: House) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            assert house.request("GET", "/health")[0] == 200
            return
        except OSError:
            assert time.monotonic() < end, house.log.read_text()[-2000:]
            assert house.process.poll() is None, house.log.read_text()[-2000:]
            time.sleep(0.2)


@contextmanager
def attack(house: House, kind: str, count: int, seconds: float) -> Iterator[dict]:
    """Connections that are held meanwhile; the figures are there at the end."""
    command = [sys.executable, str(Path(__file__).with_name("attackers.py")), kind, str(house.port), str(count), str(seconds)]
    process, figures = subprocess.Popen(command, stdout=subprocess.PIPE, text=True), {}
    try:
        yield figures
        figures |= json.loads(process.communicate(timeout=seconds + 30)[0])
    finally:
        process.kill()
        process.wait()


def timed(call, *arguments: object, **settings: object) -> tuple[float, tuple[int, dict]]:
    """Seconds that a call took, and what it returned."""
    begin = time.monotonic()
    got = call(*arguments, **settings)
    return time.monotonic() - begin, got
