"""A run: the passes one after the other, each over all shards that are not made from what there is now."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from finevit.recaption.card import write_card
from finevit.recaption.contracts import FINAL, RETRIABLE
from finevit.recaption.executors.base import Executor
from finevit.recaption.journal import ENDING as JOURNAL
from finevit.recaption.journal import KNOWN, Journal, Spent, merge, spent_in
from finevit.recaption.passes.assemble import Assemble
from finevit.recaption.passes.base import Run
from finevit.recaption.passes.index import Index
from finevit.recaption.plan import ENDING as PLAN
from finevit.recaption.plan import plan
from finevit.recaption.sidecars import DONE, PARTIAL, digest, read_json, write_json
from finevit.recaption.view import View
from finevit.recaption.work import STOP, Outcome, Task, Workshop, essence
from finevit.registry import EXECUTORS

SETTINGS = "settings.json"
LOCK = "run.lock"


@dataclass
class Watch:
    """What is told of a run while it goes on; the command draws it."""

    begin: Callable[[str, list[str], list[str]], None] = lambda name, shards, todo: None
    done: Callable[[Outcome], None] = lambda outcome: None
    end: Callable[[str], None] = lambda name: None


@dataclass
class Report:
    """How a run ended: counts by state of each pass, the errors, and whether it was stopped."""

    states: dict[str, Counter[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    stopped: bool = False

    @property
    def partial(self) -> int:
        """Shards with requests that another run asks again."""
        return sum(states[PARTIAL] for states in self.states.values())


def recaption(settings: Mapping[str, Any], work_dir: Path, *, watch: Watch, most: int | None = None) -> Report:
    """Runs the passes of ``settings``; ``most`` images, spread over the source, where that is given.

    Raises ``ValueError`` where another run has the work dir, or a setting cannot be used.
    """
    with _alone(work_dir):
        (work_dir / STOP).unlink(missing_ok=True)
        shop = Workshop(settings, work_dir)
        executor: Executor = EXECUTORS.build(dict(settings.get("executor") or {"type": "ProcessPool"}))
        shards = plan(shop.source, shop.folder("index"), per_shard=_index(shop).images_per_shard, most=most)
        write_json(work_dir / SETTINGS, json.loads(json.dumps(settings, default=str)))
        report = Report()
        try:
            for name in shop.passes:
                _pass(shop, executor, name, shards, watch, report)
                if report.stopped or report.errors:
                    break
        finally:
            executor.close()
        if Assemble.name in shop.passes and not report.stopped and not report.errors:
            write_card(View(shop), config_hash(settings))
        return report


def _index(shop: Workshop) -> Index:
    index = shop.passes["index"]
    assert isinstance(index, Index), "the pass of that name"
    return index


def _pass(shop: Workshop, executor: Executor, name: str, shards: list[str], watch: Watch, report: Report) -> None:
    own = shop.passes[name]
    shop.folder(name).mkdir(parents=True, exist_ok=True)
    gathered = own.gather(shop.parts(name, shards)) or {}
    for shard, shared in gathered.items():
        if shop.shared(name, shard) != shared:
            write_json(shop.sidecar(name, shard).path(".shared.json"), shared)
    current = {shard: shop.current(name, shard) for shard in shards}
    todo = [shard for shard, note in current.items() if note is None or note.state == PARTIAL]
    watch.begin(name, shards, todo)
    states = report.states[name] = Counter({DONE: len(shards) - len(todo)})
    tasks = [Task(shop.settings, str(shop.work_dir.absolute()), name, shard, tuple(sys.path)) for shard in todo]
    for outcome in executor.run(tasks) if tasks else ():
        states[outcome.state] += 1
        report.stopped |= outcome.state == "stopped"
        if outcome.state == "failed":
            report.errors.append(f"{name}, shard {outcome.shard}: {outcome.error}")
            stop(shop.work_dir)
        watch.done(outcome)
    watch.end(name)
    if not report.stopped and not report.errors:
        own.finish(Run(shop.dataset, shards, shop.sidecar, config_hash(shop.settings), shop.models(shards)))


def config_hash(settings: Mapping[str, Any]) -> str:
    """Of what decides the rows."""
    return digest(essence(settings["passes"]))


def stop(work_dir: Path) -> None:
    """Asks all tasks of a run to end after the requests in flight."""
    (work_dir / STOP).touch()


def spending(work_dir: Path) -> dict[str, dict[str, Spent]]:
    """What each pass cost so far, by model."""
    folders = sorted((work_dir / "passes").glob("*/"))
    found = {folder.name: spent_in(folder) for folder in folders}
    return {name: each for name, each in found.items() if each}


def money(work_dir: Path) -> float:
    """What all requests of a work dir cost."""
    return sum(cost.money for models in spending(work_dir).values() for cost in models.values())


def take_over(work_dir: Path, other: Path) -> int:
    """Makes the answers of another work dir known to this one; how many they are."""
    total = 0
    for folder in sorted((other / "passes").glob("*/")):
        if journals := sorted(folder.glob(f"*{JOURNAL}")):
            own = work_dir / "passes" / folder.name
            own.mkdir(parents=True, exist_ok=True)
            total += merge(journals, own / KNOWN)
    return total


@contextmanager
def _alone(work_dir: Path) -> Iterator[None]:
    work_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work_dir / LOCK, timeout=0):
            yield
    except Timeout:
        raise ValueError(f"work_dir={str(work_dir)!r} is in use by another run; wait for it, or give another") from None


def forget(work_dir: Path, statuses: Iterable[str] = ()) -> int:
    """Lets requests be asked again that failed for good, all or those of some statuses; how many failures these are.

    ``ValueError`` for a status that is none.
    """
    wanted = set(statuses) or set(FINAL)
    if odd := sorted(wanted - set(FINAL)):
        hint = "it is asked again by every run" if odd[0] in RETRIABLE else f"there are {', '.join(FINAL)}"
        raise ValueError(f"--status {odd[0]!r} is no status of requests that failed for good; {hint}")
    total = 0
    for path in sorted((work_dir / "passes").glob(f"*/*{JOURNAL}")):
        with closing(Journal(path)) as journal:
            if count := journal.forget(wanted):
                path.with_name(path.name.removesuffix(JOURNAL) + ".done.json").unlink(missing_ok=True)
                total += count
    return total


def progress(work_dir: Path, name: str) -> dict[str, float]:
    """The shards of a pass that are worked on, and which share of each is done."""
    found = {}
    for path in (work_dir / "passes" / name).glob("*.progress"):
        with suppress(OSError, ValueError):
            done, total = json.loads(path.read_text())
            found[path.name.partition(".")[0]] = min(done / total, 1.0) if total else 0.0
    return found


def planned_images(work_dir: Path) -> dict[str, int]:
    """Images of each shard."""
    files = sorted((work_dir / "passes/index").glob(f"*{PLAN}"))
    return {path.name.removesuffix(PLAN): len((read_json(path) or {}).get("names", ())) for path in files}
