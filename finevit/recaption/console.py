"""What people see of a run: a bar a pass with images a second, tokens, money and the time left; and its state afterwards."""

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from finevit.recaption.described import is_stand_in
from finevit.recaption.journal import Spent, spent_in
from finevit.recaption.page import write_page
from finevit.recaption.run import Report, Watch, money, planned_images, progress, recaption, spending, stop, take_over
from finevit.recaption.services import serving
from finevit.recaption.status import print_view
from finevit.recaption.view import View
from finevit.recaption.work import Outcome, Workshop
from finevit.signals import Interrupted, tell

AGAIN = 75
"""Exit status where another run can complete what this one did."""
PAGE = 24
"""Images on the page."""
INTERVAL = 1.0
"""Seconds between two looks at what is done and what it cost."""


def follow(settings: Mapping[str, Any], work_dir: Path, *, budget: float | None = None) -> int:
    """Runs the passes and shows how far they are; the exit status."""
    begin = time.monotonic()
    with serving(settings, work_dir / "services") as told, _ending(work_dir):
        print(f"work dir {work_dir}, {told['source'].get('type')}", flush=True)
        with Screen(work_dir, budget=budget) as screen:
            report = recaption(told, work_dir, watch=screen.watch)
        return conclude(report, settings, work_dir, seconds=time.monotonic() - begin, spent=screen.spent, budget=budget)


def conclude(
    report: Report, settings: Mapping[str, Any], work_dir: Path, *, seconds: float, spent: float, budget: float | None
) -> int:
    """Says how the run ended; the exit status."""
    print_status(settings, work_dir)
    if acted := sorted({model for models in spending(work_dir).values() for model in models if is_stand_in(model)}):
        print(f"{', '.join(acted)}: stand-ins, which answer from a hidden truth and see nothing; no figure of a model's")
    for error in report.errors:
        print(f"error: {error}", file=sys.stderr)
    if report.errors:
        return 2
    page = write_page(settings, work_dir, work_dir / "report.html", images=PAGE)
    print(f"dataset: {Path(settings.get('dataset_dir') or work_dir / 'dataset')}; page: {page}")
    if report.stopped:
        over = budget is not None and spent >= budget
        why = f"--budget {budget:g} is spent ({spent:.4g})" if over else "stopped"
        print(f"{why}: answers are kept, nothing is asked twice; the same command goes on")
        return AGAIN
    if report.partial:
        print(f"{report.partial} shards have requests that failed for the moment; the same command asks these again")
        return AGAIN
    print(f"done in {seconds:.0f} s")
    return 0


@dataclass
class Screen:
    """A bar a pass. A thread looks at what is done; it stops the run where the budget is spent."""

    work_dir: Path
    budget: float | None = None
    spent: float = 0.0

    def __enter__(self) -> "Screen":
        columns = (
            TextColumn("{task.description:<15}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._bars.start()
        self._before = money(self.work_dir)
        self._name, self._task, self._begun = "", TaskID(0), 0.0
        self._images: dict[str, int] = {}
        self._before_pass = self._finished = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._bars.stop()
        self.spent = money(self.work_dir) - self._before

    @property
    def watch(self) -> Watch:
        """What the run calls."""
        return Watch(begin=self._begin, done=self._done, end=self._end)

    def _begin(self, name: str, shards: list[str], todo: list[str]) -> None:
        self._images = planned_images(self.work_dir)
        total = sum(self._images[shard] for shard in shards)
        self._before_pass = self._finished = total - sum(self._images[shard] for shard in todo)
        self._task = self._bars.add_task(name, total=total, completed=self._finished, told="")
        self._begun, self._name = time.monotonic(), name

    def _done(self, outcome: Outcome) -> None:
        self._finished += self._images[outcome.shard]
        self._show(self._name)

    def _end(self, name: str) -> None:
        self._name = ""
        self._show(name)

    def _show(self, name: str) -> None:
        """Images done, of those in work by their share; images a second; answers, tokens and money of the pass so far."""
        work = sum(share * self._images.get(shard, 0) for shard, share in progress(self.work_dir, name).items())
        images, total = round(self._finished + work), sum(self._images.values())
        rate = (images - self._before_pass) / max(time.monotonic() - self._begun, 1e-3)
        costs = sum(spent_in(self.work_dir / "passes" / name).values(), Spent())
        parts = [f"{images:,}/{total:,} images"]
        parts += [f"{rate:,.3g} images/s"] if images > self._before_pass else []
        parts += [f"{costs.answered:,} answers"] if costs.answered else []
        tokens = costs.prompt_tokens + costs.completion_tokens
        parts += [f"{tokens:,} tokens"] if tokens else []
        parts += [f"{costs.money:.4g} money"] if costs.money else []
        self._bars.update(self._task, completed=images, told=", ".join(parts))

    def _look(self) -> None:
        while not self._ended.wait(INTERVAL):
            if name := self._name:
                self._show(name)
            if self.budget is not None and money(self.work_dir) - self._before >= self.budget:
                stop(self.work_dir)


@contextmanager
def _ending(work_dir: Path) -> Iterator[None]:
    """The first signal asks the run to end after the requests in flight, the second ends it at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise Interrupted(number)
        asked = True
        stop(work_dir)
        tell(f"{signal.Signals(number).name}: ends after the requests in flight and keeps their answers; a second one ends at once")

    before = {each: signal.signal(each, ask) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def print_status(settings: Mapping[str, Any], work_dir: Path) -> int:
    """What is done, what failed, what it cost and what is left."""
    print_view(View(Workshop(settings, work_dir)), spending(work_dir))
    return 0


def dry_run(settings: Mapping[str, Any], work_dir: Path, *, images: int) -> int:
    """Does ``images`` images and says what all would cost. Their answers are known to the real run, which does not ask again."""
    sample = work_dir / "dry_run"
    with serving(settings, work_dir / "services") as told, _ending(sample):
        with Screen(sample) as screen:
            report = recaption({**told, "dataset_dir": str(sample / "dataset")}, sample, watch=screen.watch, most=images)
        total = len(Workshop(told, sample).source)
    status = conclude(report, {**settings, "dataset_dir": str(sample / "dataset")}, sample, seconds=0, spent=0, budget=None)
    known = take_over(work_dir, sample)
    print_estimate(sample, total=total, images=min(images, total), known=known)
    return status if report.errors else 0


def print_estimate(sample: Path, *, total: int, images: int, known: int) -> None:
    """What all images would cost, by pass."""
    factor = total / max(images, 1)
    table = Table(
        "pass", "model", "calls", "prompt tokens", "completion tokens", "money", "hours of requests", box=None, pad_edge=False
    )
    for name, models in spending(sample).items():
        for model, cost in models.items():
            calls = factor * (cost.answered + cost.failed)
            tokens = (f"{factor * cost.prompt_tokens:,.0f}", f"{factor * cost.completion_tokens:,.0f}")
            table.add_row(
                name, model, f"{calls:,.0f}", *tokens, f"{factor * cost.money:,.2f}", f"{factor * cost.seconds / 3600:.2f}"
            )
    print(f"estimate for {total:,} images, from {images}; their {known:,} answers are known to the run")
    Console(width=max(100, Console().width)).print(table)
