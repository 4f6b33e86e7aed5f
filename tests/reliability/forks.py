"""A process that has imported what a run needs, and forks one for each request: Python's and torch's start is paid once.

A request is a line of JSON: ``argv`` of ``tools/train.py`` (or another tool), ``log`` for what the run prints, ``trail`` for what
it does, and its ``moments``, which come one after the other: when the ``nth`` line of the trail that matches ``at`` was written,
another process sends the ``signals``, each ``[seconds, number]``, to the run, to its ``group`` or to its last ``worker``; the run
waits for it unless ``after`` seconds are to pass before. The answers are lines: the run's process id, and its exit status.

The trail has a line for each file that is opened for writing, renamed or removed, each fork, and each call of MMEngine's hooks.
"""

import importlib
import json
import os
import re
import runpy
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WRITES = os.O_WRONLY | os.O_RDWR
NEEDED = (
    *("finevit.engine.progress", "finevit.planning.planner", "finevit.plugins", "finevit.visualization.report"),
    *("finevit.visualization.stage1", "finevit.visualization.stage2", "finevit.visualization.stage3"),
    *("finevit.stages", "finevit.backbones", "finevit.heads", "finevit.text_encoders", "finevit.connectors", "finevit.datasets"),
    *("finevit_plugins.llms", "finevit_plugins.teachers", "finevit_plugins.schedules", "mmcv.transforms", "timm.optim"),
    *("torch.utils.tensorboard", "matplotlib.figure", "transformers.models.llama.modeling_llama", "tifffile"),
)


class Trail:
    """Writes what the process does, and has it signalled at its moments."""

    def __init__(self, path: str, moments: list[dict[str, Any]]) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.me, self.moments, self.left = os.getpid(), moments, 0
        self.next, self.sent = os.pipe(), os.pipe()
        if moments and not os.fork():
            os.setsid()
            self._send()

    def hear(self, event: str, arguments: tuple) -> None:
        """An audit hook, of Python and of MMEngine's hooks."""
        if event == "open" and not (isinstance(arguments[0], str) and arguments[2] & WRITES):
            return
        if event not in ("open", "os.rename", "os.remove", "os.fork", "hook") or os.getpid() != self.me:
            return
        line = " ".join((event, *map(str, arguments[: 1 + (event == "os.rename")])))
        os.write(self.file, f"{line}\n".encode())
        if self.moments and re.search(self.moments[0]["at"], line):
            self.left = (self.left or self.moments[0]["nth"]) - 1
            if not self.left:
                self._come(self.moments.pop(0))

    def _come(self, moment: dict[str, Any]) -> None:
        os.write(self.file, f"moment {moment['at']}\n".encode())
        os.write(self.next[1], b".")
        if not moment["after"]:
            os.read(self.sent[0], 1)

    def _send(self) -> None:
        """The other process; it ends with the run."""
        os.close(self.next[1])
        for moment in self.moments:
            if not os.read(self.next[0], 1):
                break
            time.sleep(moment["after"])
            for seconds, number in moment["signals"]:
                time.sleep(seconds)
                if moment["to"] == "group":
                    os.killpg(self.me, number)
                else:
                    os.kill(self.me if moment["to"] == "run" else max(children(self.me, besides=os.getpid())), number)
            if not moment["after"]:
                os.write(self.sent[1], b".")
        os._exit(0)


def children(pid: int, besides: int = 0) -> list[int]:
    """The child processes of a process."""
    found = {int(each) for file in Path(f"/proc/{pid}/task").glob("*/children") for each in file.read_text().split()}
    return sorted(found - {besides})


def become(request: dict[str, Any]) -> None:
    """This process is the run."""
    from mmengine.runner import Runner

    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    trail = Trail(request["trail"], request["moments"])
    call_hook = Runner.call_hook

    def heard(self: Runner, name: str, **options: Any) -> None:
        sys.audit("hook", name)
        call_hook(self, name, **options)

    Runner.call_hook = heard
    sys.addaudithook(trail.hear)
    sys.argv = request["argv"]
    sys.path[0] = str(ROOT / "tools")
    runpy.run_path(sys.argv[0], run_name="__main__")


def serve() -> dict[str, Any] | None:
    """Answers requests; in a child it returns the child's."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            return json.loads(line)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    for name in NEEDED:
        importlib.import_module(name)
    print("ready", flush=True)
    if asked := serve():
        become(asked)
