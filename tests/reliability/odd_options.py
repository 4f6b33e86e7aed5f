"""Odd ``--cfg-options``: any setting of a resolved config with any odd value, each tried by a short start in a process of its own.

A start is what ``tools/train.py`` does, up to two steps, a checkpoint and a validation.
"""

import contextlib
import io
import os
import random
import resource
import runpy
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
from tiny_runs import ROOT

CONFIGS = [f"configs/finevit_tiny_stage{stage}.py" for stage in (1, 2, 3)]
SMALL = (
    *("train_dataloader.batch_size=2", "train_dataloader.num_workers=0", "val_dataloader.batch_size=2", "train_cfg.max_iters=40"),
    *("train_cfg.val_interval=40", "default_hooks.checkpoint.interval=40", "default_hooks.logger.interval=1"),
)
SCENES = ("val_dataloader.dataset.source.length=4",)
"""What no data of one's own takes."""
STAGES: dict[str, tuple[str, ...]] = {
    CONFIGS[0]: ("train_dataloader.batch_sampler.resolution.side=56",),
    CONFIGS[1]: (),
    CONFIGS[2]: ("model.llm.config.num_hidden_layers=1",),
}
ODD = (
    *("0", "1", "-1", "2.5", "1e-30", "1000000000", "nan", "inf", "-inf", "True", "False", "None", "abc", "", "''", "été", "3 4"),
    *(
        "[]",
        "()",
        "[1]",
        "[None]",
        "[[1,2],[3]]",
        "[abc,def]",
        "(0.5,0.1)",
        "[(0,1),(0,2)]",
        "float99",
        "bfloat16",
        "LinearLR",
        "../x",
    ),
)
TAILS = (
    "x=1",
    "type=1",
    "type=None",
    "type=Nonsense",
    "0.x=1",
    "99.x=1",
    "_delete_=True",
    "_scope_=nowhere",
    "_base_=1",
    "x.y.z.w=1",
)
SEEDS = int(os.environ.get("FINEVIT_ODD_SEEDS", "0"))
"""The first seed of a trial: other options are tried from another."""
SECONDS = 120
MEMORY = 12 * 2**30
HEALTHY, NAMED = "healthy", "named"


class Attempt(NamedTuple):
    """A start of a config with options, which a seed drew."""

    seed: int
    config: str
    options: list[str]


class Outcome(NamedTuple):
    """How a start ended: ``healthy``, ``named`` (an error for people), or what went wrong; with what it printed at last."""

    kind: str
    told: str


def settings(node: Any, path: str = "") -> Iterator[str]:
    """The dotted name of every setting."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, child in items:
        yield f"{path}{key}"
        yield from settings(child, f"{path}{key}.")


def odd_options(chance: random.Random, names: list[str]) -> list[str]:
    """One odd option, or two."""
    return [_one(chance, names) for _ in range(1 + (chance.random() < 0.2))]


def _one(chance: random.Random, names: list[str]) -> str:
    name, way = chance.choice(names), chance.random()
    if name.endswith(".type") and chance.random() < 0.8:
        return _one(chance, names)
    if way < 0.75:
        return f"{name}={chance.choice(ODD)}"
    if way < 0.9:
        return f"{name}.{chance.choice(TAILS)}"
    place = chance.randrange(len(name) + 1)
    return f"{name[:place]}{chance.choice('xé.0_')}{name[place + chance.randrange(2) :]}={chance.choice(ODD)}"


def starts(attempts: Iterable[Attempt], folder: Path, at_once: int) -> Iterator[tuple[Attempt, Outcome]]:
    """Forks processes that start the runs, so many at once; ends each after ``SECONDS``."""
    waiting, running = iter(attempts), list[_Start]()
    while True:
        while len(running) < at_once and (attempt := next(waiting, None)):
            running.append(_Start(attempt, folder))
        if not running:
            return
        left = min(each.end for each in running) - time.monotonic()
        ready = select.select([each.reading for each in running], [], [], max(0.0, left))[0]
        ended = [each for each in running if (each.reading in ready and each.read()) or time.monotonic() >= each.end]
        for each in ended:
            running.remove(each)
            yield each.attempt, each.outcome()


class _Start:
    """A process that starts a run, and what it told so far."""

    def __init__(self, attempt: Attempt, folder: Path) -> None:
        self.attempt, self.folder, self.told = attempt, folder / str(attempt.seed), b""
        self.folder.mkdir()
        self.reading, writing = os.pipe()
        self.child, self.end = os.fork(), time.monotonic() + SECONDS
        if not self.child:
            _child(attempt.config, attempt.options, self.folder, writing)
        os.close(writing)

    def read(self) -> bool:
        """Takes what there is; whether that was the last."""
        read = os.read(self.reading, 1 << 16)
        self.told += read
        return not read

    def outcome(self) -> Outcome:
        """How it ended; ends it where it did not."""
        hangs = time.monotonic() >= self.end
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        os.close(self.reading)
        shutil.rmtree(self.folder)
        kind, _, text = self.told.decode(errors="replace").partition("\n")
        return Outcome("hang" if hangs else kind or f"ended by {status}", text)


def _child(config: str, options: list[str], folder: Path, writing: int) -> None:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.chdir(folder)
    os.dup2(os.open(folder / "console.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 1)
    printed, outcome = io.StringIO(), Outcome(HEALTHY, "")
    sys.argv = [
        "train.py",
        str(ROOT / config),
        "--work-dir",
        str(folder / "run"),
        "--cfg-options",
        *_small(config, options),
        *options,
    ]
    huggingface_hub.constants.HF_HUB_OFFLINE = True  # no hub is asked for odd names
    try:
        _end_early(writing)
        with contextlib.redirect_stderr(printed):
            runpy.run_path(str(ROOT / "tools/train.py"), run_name="__main__")
    except SystemExit as error:
        outcome = Outcome(
            NAMED if error.code == 2 and "error: " in printed.getvalue() else f"exit {error.code}", printed.getvalue()
        )
    except BaseException as error:
        outcome = Outcome(type(error).__name__, "".join(traceback.format_exception(error)))
    _tell(writing, outcome)


def _small(config: str, options: list[str]) -> tuple[str, ...]:
    own = any("data_root" in option and not option.endswith("=None") for option in options)
    return (*SMALL, *STAGES[config], *(() if own else SCENES))


def _tell(writing: int, outcome: Outcome) -> None:
    text = f"{outcome.kind}\n{outcome.told}".encode(errors="replace")
    while text:
        text = text[os.write(writing, text) :]
    os._exit(0)


def _end_early(writing: int) -> None:
    """After two steps, a checkpoint and a validation the start was healthy."""
    from finevit.engine.checkpoints import save_now
    from finevit.engine.loop import StatelessTrainLoop, validate

    run_iter = StatelessTrainLoop.run_iter

    def run_two(loop: StatelessTrainLoop, batch: dict) -> None:
        run_iter(loop, batch)
        if loop._iter >= 2:
            save_now(loop.runner)
            if loop.runner.val_loop is not None:
                validate(loop.runner)
            _tell(writing, Outcome(HEALTHY, ""))

    StatelessTrainLoop.run_iter = run_two  # type: ignore[method-assign]


def names_setting(told: str, options: list[str]) -> bool:
    """Whether an error names a setting that was given, dotted as it was typed, or the part of the config that holds it."""
    names = [option.partition("=")[0] for option in options]
    return any(
        name in told or any(f"{place} " in told or f"{place}:" in told or f"{place}=" in told for place in _places(name))
        for name in names
    )


def _places(name: str) -> list[str]:
    """What holds a setting, and what holds that: a part of a config is built with all that is in it."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
