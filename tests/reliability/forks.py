"""A process that has imported what a run needs, and forks one for each request: Python's and torch's start is paid once.

A request is a line of JSON: ``argv`` of ``tools/train.py`` (or another tool), ``log`` for what the run prints, ``trail`` for what
it does, and its ``moment``: when the ``nth`` line of the trail that matches ``at`` was written, and ``after`` seconds are over, the
run gets the ``signals``, each with the seconds until the next; with ``group`` its workers get them too. The answers are lines: the
run's process id, and its exit status.

The trail has a line for each file that is opened for writing, renamed or removed, and for each call of MMEngine's hooks.
"""

import importlib
import json
import os
import re
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WRITES = os.O_WRONLY | os.O_RDWR
NEEDED = (
    *("finevit.engine.progress", "finevit.engine.planner", "finevit.plugins", "finevit.visualization.run"),
    *("finevit.visualization.stage1", "finevit.visualization.stage2", "finevit.visualization.stage3"),
    *("finevit.stages", "finevit.backbones", "finevit.heads", "finevit.text_encoders", "finevit.connectors", "finevit.datasets"),
    *("finevit_plugins.llms", "finevit_plugins.teachers", "finevit_plugins.schedules", "mmcv.transforms", "timm.optim"),
    *("torch.utils.tensorboard", "matplotlib.figure", "transformers.models.llama.modeling_llama", "tifffile"),
)


class Trail:
    """Writes what the process does, and signals it at one moment."""

    def __init__(self, path: str, at: str, nth: int, after: float, group: bool, signals: list[tuple[int, float]]) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.at, self.left, self.after, self.signals = re.compile(at), nth, after, signals
        self.me, self.send = os.getpid(), os.killpg if group else os.kill

    def hear(self, event: str, arguments: tuple) -> None:
        """An audit hook, of Python and of MMEngine's hooks."""
        if event == "open" and not (isinstance(arguments[0], str) and arguments[2] & WRITES):
            return
        if event not in ("open", "os.rename", "os.remove", "hook") or os.getpid() != self.me:
            return
        line = " ".join((event, *map(str, arguments[: 1 + (event == "os.rename")])))
        os.write(self.file, f"{line}\n".encode())
        if self.signals and self.at.search(line):
            self.left -= 1
            if not self.left:
                self._come()

    def _come(self) -> None:
        if self.after or len(self.signals) > 1:
            threading.Thread(target=self._send, daemon=True).start()
        else:
            self._send()

    def _send(self) -> None:
        time.sleep(self.after)
        for number, seconds in self.signals:
            os.write(self.file, f"signal {signal.Signals(number).name}\n".encode())
            self.send(self.me, number)
            time.sleep(seconds)


def become(request: dict[str, Any]) -> None:
    """This process is the run."""
    from mmengine.runner import Runner
    from yapf.yapflib import yapf_api

    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    trail = Trail(request["trail"], **request["moment"])
    call_hook = Runner.call_hook

    def heard(self: Runner, name: str, **options: Any) -> None:
        sys.audit("hook", name)
        call_hook(self, name, **options)

    Runner.call_hook = heard
    yapf_api.FormatCode = lambda text, **_: (text, True)  # a config's text is laid out ten times in a run
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
