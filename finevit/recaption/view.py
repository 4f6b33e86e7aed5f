"""A run as it is, whole or not: the state of its passes, what failed, and the tables of a shard of what there is already."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from finevit.recaption.contracts import FINAL, RETRIABLE
from finevit.recaption.passes.assemble import Assemble
from finevit.recaption.passes.base import Inputs, Rows
from finevit.recaption.plan import ENDING
from finevit.recaption.sidecars import PARTIAL, Done
from finevit.recaption.statistics import Numbers, merged, numbers_of
from finevit.recaption.work import Workshop
from finevit.shards.schema import TABLES

STATISTICS = "statistics"
"""The note of the last pass that has the numbers of the shard."""
REJECTS = ("sampled", "unconfirmed")
"""Counts of passes that tell of rows that are dropped, beside those that begin with ``rejected: ``."""
MEANING: Mapping[str, str] = {**RETRIABLE, **FINAL}


@dataclass
class PassState:
    """What is done of a pass: names of shards, counts by status over these, seconds."""

    name: str
    done: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """Of one process, if the other shards are like those that are made; None where none is."""
        made = len(self.done) + len(self.partial)
        return self.seconds / made * len(self.left) if made else None


@dataclass
class Failure:
    """Requests that ended with a status: how many, and what is said of the first."""

    name: str
    status: str
    count: int
    detail: str

    @property
    def again(self) -> bool:
        """Whether another run asks them again."""
        return self.status in RETRIABLE


class View:
    """A run in its work dir. Nothing is written."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop

    @cached_property
    def shards(self) -> list[str]:
        """Those that are planned."""
        return sorted(path.name.removesuffix(ENDING) for path in self.shop.folder("index").glob(f"*{ENDING}"))

    @cached_property
    def passes(self) -> list[PassState]:
        """In their order."""
        return [self._state(name) for name in self.shop.passes]

    def _state(self, name: str) -> PassState:
        state = PassState(name)
        for shard in self.shards:
            note = self.note(name, shard)
            if note is None:
                state.left.append(shard)
                continue
            (state.partial if note.state == PARTIAL else state.done).append(shard)
            state.counts.update(note.counts)
            state.seconds += note.seconds
        return state

    def note(self, name: str, shard: str) -> Done | None:
        """Of a shard that is made from what there is now."""
        return self.shop.current(name, shard) if name in self.shop.passes else None

    def failures(self) -> list[Failure]:
        """By pass and status, the most first."""
        found = []
        for state in self.passes:
            for status, count in state.counts.most_common():
                if status in MEANING and self.shop.passes[state.name].asks:
                    found.append(Failure(state.name, status, count, self._detail(state, status)))
        return found

    def _detail(self, state: PassState, status: str) -> str:
        """What the first row of a status says of itself."""
        for shard in sorted([*state.partial, *state.done]):
            note = self.note(state.name, shard)
            if not note or not note.counts.get(status):
                continue
            for table in note.rows:
                rows = self.shop.sidecar(state.name, shard).table(table)
                if {"status", "detail"} <= set(rows.column_names):
                    told = rows.filter(pa.compute.equal(rows["status"], status))["detail"].to_pylist()
                    if told := [each for each in told if each]:
                        return str(told[0])
        return ""

    def tables(self, shard: str) -> Mapping[str, pa.Table]:
        """The tables of the dataset, of what is there: the last pass's own, or made as it would; empty before the first pass."""
        sidecar = self.shop.sidecar(Assemble.name, shard)
        if note := self.note(Assemble.name, shard):
            return {name: sidecar.table(name) for name in note.rows}
        if not self.note("index", shard):
            return {name: schema.empty_table() for name, schema in TABLES.items()}
        names = [name for name in (*Assemble.reads, *Assemble.uses) if self.note(name, shard)]
        tables = {name: self._read(name, shard) for name in names}
        if "sample" not in tables:
            tables |= self._candidates(shard)
        return Assemble().process_shard(Inputs(shard, tables, {}, _no_picture)).tables

    def _read(self, name: str, shard: str) -> dict[str, pa.Table]:
        note = self.note(name, shard)
        return {table: self.shop.sidecar(name, shard).table(table) for table in (note.rows if note else ())}

    def _candidates(self, shard: str) -> dict[str, dict[str, pa.Table]]:
        """Boxes before they are sampled, as the pass that samples would write them."""
        told = self._read("suppress", shard).get("regions") or self._read("grounding", shard).get("candidates")
        if told is None or not len(told):
            return {}
        rows = [{"reasons": [], **row, "keep_prob": 1.0, "class_id": -1} for row in told.to_pylist()]
        return {"sample": {"regions": pa.Table.from_pylist([{**row, "kept": not row["reasons"]} for row in rows])}}

    def rows(self, name: str, shard: str, table: str) -> Rows:
        """Of a pass's own table; none where it is not made."""
        found = self._read(name, shard).get(table)
        return found.to_pylist() if found is not None else []

    def numbers(self) -> Numbers:
        """The statistics of all shards."""
        return merged(self._numbers())

    def _numbers(self) -> Iterator[tuple[str, Numbers]]:
        for shard in self.shards:
            note = self.note(Assemble.name, shard)
            yield shard, note.notes[STATISTICS] if note and STATISTICS in note.notes else numbers_of(self.tables(shard))


def rejects(passes: Iterable[PassState]) -> dict[tuple[str, str], int]:
    """How many rows each pass rejected, by pass and reason."""
    told = {}
    for state in passes:
        for name, count in state.counts.most_common():
            if count and (name.startswith("rejected: ") or name in REJECTS):
                told[state.name, name.removeprefix("rejected: ")] = count
    return told


def _no_picture(sample: str) -> Any:
    raise AssertionError("tables are joined without pixels")
