"""The unit of work: one pass on one shard. Executors call ``work`` with a task; nothing here knows which executor that is."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from filelock import FileLock
from mmengine.utils import import_modules_from_strings

from finevit.contracts import Source
from finevit.recaption.contracts import Picture
from finevit.recaption.journal import KNOWN, Journal
from finevit.recaption.passes.base import Inputs, Pass, Stopped
from finevit.recaption.plan import ENDING, planned
from finevit.recaption.sidecars import DONE, PARTIAL, Done, Sidecar, digest, read_json
from finevit.registry import DATASETS, ENGINES, PASSES, kind_of
from finevit.shards.files import read_member

STOP = "STOP"
"""A file of this name in the work dir ends a run: requests in flight are answered, no new ones are sent."""
MODELS = "models"
"""The note of a shard that has the models that were asked for it."""
INTERVAL = 0.5
"""Seconds between two notes of progress."""


class Task(NamedTuple):
    """One pass on one shard. ``settings`` are those of the run, as plain data."""

    settings: Mapping[str, Any]
    work_dir: str
    name: str
    shard: str
    paths: tuple[str, ...] = ()
    """Where modules of the config's ``custom_imports`` are looked for, after what is installed."""


class Outcome(NamedTuple):
    """How a task ended: ``done``, ``partial``, ``stopped`` or ``failed``, with the ``error`` that people can act on."""

    name: str
    shard: str
    state: str
    error: str = ""


class Tables(Mapping[str, pa.Table]):
    """The tables of a finished shard, read when they are looked at."""

    def __init__(self, sidecar: Sidecar) -> None:
        note = sidecar.done()
        assert note, f"{sidecar.folder.name} of shard {sidecar.shard} comes before"
        self._sidecar, self._names = sidecar, list(note.rows)
        self._read: dict[str, pa.Table] = {}

    def __getitem__(self, name: str) -> pa.Table:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = self._sidecar.table(name)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Workshop:
    """The passes of a run, built from its settings, and the files of their shards."""

    def __init__(self, settings: Mapping[str, Any], work_dir: str | Path) -> None:
        self.settings, self.work_dir = settings, Path(work_dir)
        self.dataset = Path(settings.get("dataset_dir") or self.work_dir / "dataset")
        self.passes = ordered(settings["passes"])

    @cached_property
    def source(self) -> Source:
        """Where the images come from."""
        return DATASETS.build(dict(self.settings["source"]))

    def folder(self, name: str) -> Path:
        """Of a pass."""
        return self.work_dir / "passes" / name

    def sidecar(self, name: str, shard: str) -> Sidecar:
        """The files of a shard in a pass."""
        return Sidecar(self.folder(name), shard)

    def tar(self, shard: str) -> Path:
        """Where the images of a shard are."""
        return self.dataset / f"{shard}.tar"

    def before(self, name: str) -> list[str]:
        """The passes that a pass reads in this run."""
        own = self.passes[name]
        return [each for each in (*own.reads, *own.uses) if each in self.passes]

    def fingerprint(self, name: str, shard: str) -> str:
        """What the rows of a shard are made from: the settings that matter, the code's version, and the tables that are read."""
        own = self.passes[name]
        read = {each: _digests(self.sidecar(each, shard)) for each in self.before(name)}
        if name == "index":
            names = (read_json(self.folder(name) / f"{shard}{ENDING}") or {}).get("names")
            read["source"] = [dict(self.settings["source"]).get("type"), names]
        return digest(name, own.version, essence(self.settings["passes"][name]), read, self.shared(name, shard))

    def shared(self, name: str, shard: str) -> Any:
        """What a pass gathered for a shard."""
        return read_json(self.sidecar(name, shard).path(".shared.json"))

    def current(self, name: str, shard: str) -> Done | None:
        """The note of a shard that is made from what there is now, whole or partial."""
        done = self.sidecar(name, shard).done()
        return done if done and done.fingerprint == self.fingerprint(name, shard) else None

    def models(self, shards: Iterable[str]) -> dict[str, list[str]]:
        """The models whose answers the shards hold, by pass."""
        found: dict[str, set[str]] = {}
        for name in self.passes:
            notes = (self.sidecar(name, shard).done() for shard in shards)
            found[name] = {model for note in notes if note for model in note.notes.get(MODELS, ())}
        return {name: sorted(each) for name, each in found.items() if each}

    def inputs(self, name: str, shard: str) -> Inputs:
        """What a pass reads of a shard."""
        tables = {each: Tables(self.sidecar(each, shard)) for each in self.before(name)}
        return Inputs(shard, tables, self.shared(name, shard), _pictures(self.sidecar("index", shard), self.tar(shard)))

    def parts(self, name: str, shards: Iterable[str]) -> Iterator[tuple[str, Inputs]]:
        """What ``gather`` reads."""
        return ((shard, self.inputs(name, shard)) for shard in shards)


def ordered(configs: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Pass]:
    """The passes by name, each behind those that it reads; ``ValueError`` where one that is needed is missing."""
    passes: dict[str, Pass] = {}
    for name, config in configs.items():
        if config is None:  # switched off
            continue
        built = PASSES.build(dict(config))
        if built.name != name:
            raise ValueError(f"passes.{name}.type={config['type']!r} is the pass {built.name!r}; write passes.{built.name}")
        passes[name] = built
    if "index" not in passes:
        raise ValueError("passes.index is missing; add passes.index.type='Index'")
    for name, each in passes.items():
        if lacking := [needed for needed in each.reads if needed not in passes]:
            raise ValueError(
                f"passes.{name} reads {', '.join(lacking)}, which the config does not have; add it, or take out {name}"
            )
    done: dict[str, Pass] = {}
    while len(done) < len(passes):
        ready = [name for name, each in passes.items() if name not in done and _ready(each, passes, done)]
        if not ready:
            raise ValueError(f"passes {', '.join(set(passes) - set(done))} read each other in a circle; take one out")
        done |= {ready[0]: passes[ready[0]]}
    return done


def _ready(each: Pass, passes: Mapping[str, Pass], done: Mapping[str, Pass]) -> bool:
    return all(needed in done for needed in (*each.reads, *each.uses) if needed in passes)


def essence(config: Any) -> Any:
    """A config without the settings of its components that do not change what they give."""
    if isinstance(config, list | tuple):
        return [essence(item) for item in config]
    if not isinstance(config, Mapping):
        return config
    kind = kind_of(config) if "type" in config else ""
    component = (ENGINES.get(kind) or PASSES.get(kind)) if kind else None
    return {name: essence(item) for name, item in config.items() if name not in getattr(component, "operational", ())}


def _digests(sidecar: Sidecar) -> Any:
    done = sidecar.done()
    return done and dict(done.sha256)


def _pictures(index: Sidecar, tar: Path) -> Callable[[str], Picture]:
    """Pictures by sample id, read from the tar when they are looked at."""
    places: dict[str, tuple[int, int]] = {}

    def read(sample: str) -> bytes:
        if not places:
            rows = index.table("images").select(["sample_id", "offset", "size"]).to_pylist()
            places.update({row["sample_id"]: (row["offset"], row["size"]) for row in rows if row["offset"] is not None})
        return read_member(tar, *places[sample])

    return lambda sample: Picture(sample, partial(read, sample), readable=True)


def work(task: Task) -> Outcome:
    """Does one task: the same wherever it runs. A shard that another process works on is waited for."""
    shop = _shop(json.dumps(task.settings, sort_keys=True, default=str), task)
    sidecar = shop.sidecar(task.name, task.shard)
    sidecar.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(sidecar.path(".lock")):
        note = shop.current(task.name, task.shard)
        if note and note.state == DONE:
            return Outcome(task.name, task.shard, DONE)
        try:
            return Outcome(task.name, task.shard, _process(shop, task, sidecar))
        except Stopped:
            return Outcome(task.name, task.shard, "stopped")
        finally:
            sidecar.path(".progress").unlink(missing_ok=True)


def _process(shop: Workshop, task: Task, sidecar: Sidecar) -> str:
    own, begin, cpu = shop.passes[task.name], time.monotonic(), time.process_time()
    inputs = shop.inputs(task.name, task.shard)
    if task.name == "index":
        inputs.shared = planned(shop.source, sidecar.folder, task.shard, shop.tar(task.shard))
    inputs.tick = _Progress(sidecar.path(".progress"))
    inputs.stopping = (shop.work_dir / STOP).exists
    if own.asks:
        inputs.journal = Journal(sidecar.journal, known=sidecar.folder / KNOWN)
    try:
        output = own.process_shard(inputs)
    finally:
        if inputs.journal:
            inputs.journal.close()
    done = Done(
        PARTIAL if inputs.partial else DONE,
        shop.fingerprint(task.name, task.shard),
        counts=dict(output.counts),
        notes={**output.notes, MODELS: sorted(inputs.models)},
        seconds=round(time.monotonic() - begin, 3),
        cpu_seconds=round(time.process_time() - cpu, 3),
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    )
    return sidecar.write(output.tables, done).state


class _Progress:
    """Notes how far a shard is, where the main process looks for it."""

    def __init__(self, path: Path) -> None:
        self._path, self._last = path, 0.0

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._last < INTERVAL:
            return
        self._last = time.monotonic()
        unfinished = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        unfinished.write_text(json.dumps([done, total]))
        unfinished.replace(self._path)


_SHOPS: dict[str, Workshop] = {}


def _shop(settings: str, task: Task) -> Workshop:
    """One in this process for a run; engines and sources are built once."""
    known = f"{task.work_dir}\0{settings}"
    if known not in _SHOPS:
        from finevit.plugins import load_plugins

        load_plugins()
        sys.path += [path for path in task.paths if path not in sys.path]
        if custom := task.settings.get("custom_imports"):
            import_modules_from_strings(**custom)
        _SHOPS.clear()
        _SHOPS[known] = Workshop(task.settings, task.work_dir)
    return _SHOPS[known]
