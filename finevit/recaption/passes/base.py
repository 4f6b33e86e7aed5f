"""What a pass is: from tables of earlier passes to its own, shard by shard, by a function that knows nothing of executors."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from finevit.recaption.contracts import RETRIABLE, Answer, Engine, Picture, Request
from finevit.recaption.journal import Journal
from finevit.recaption.sidecars import Sidecar, digest
from finevit.registry import ENGINES

Rows = list[dict[str, Any]]


class Stopped(Exception):
    """The run is to end: what was answered is in the journal, and the shard is gone on with by the next run."""


class Output(NamedTuple):
    """The tables of a shard, and counts by status for people (``kept``, ``rejected: blurred``, ``timeout``, ...); ``notes``
    are facts of the shard as plain JSON."""

    tables: Mapping[str, pa.Table]
    counts: Mapping[str, int]
    notes: Mapping[str, Any] = {}


@dataclass
class Inputs:
    """What a pass gets to work on a shard.

    ``tables`` are those of the passes that it reads, ``tables["index"]["images"]``; of a pass that the run does not have there are
    none. ``shared`` is what ``gather`` made for this shard. ``picture`` gives an image by its sample id.
    """

    shard: str
    tables: Mapping[str, Mapping[str, pa.Table]]
    shared: Any
    picture: Callable[[str], Picture]
    journal: Journal | None = None
    tick: Callable[[int, int], None] = lambda done, total: None
    stopping: Callable[[], bool] = lambda: False
    partial: bool = False
    """Whether a request failed for the moment."""
    statuses: Counter[str] = field(default_factory=Counter)
    models: set[str] = field(default_factory=set)
    """Those that were asked."""

    def rows(self, of: str, table: str) -> Rows:
        """The rows of a table of an earlier pass; none where the run does not have that pass."""
        return self.tables[of][table].to_pylist() if of in self.tables else []

    def ask(self, engine: Engine, requests: Iterable[tuple[Any, Request]], *, total: int = 0) -> dict[Any, Answer]:
        """The answer of each named request: out of the journal, or of the engine, and then into the journal before anything else.

        Raises ``Stopped`` where the run is to end before all are answered. An image that cannot be decoded is an answer too.
        """
        assert self.journal is not None, "a pass that asks says so: asks = True"
        journal, stopped = self.journal, False
        self.models.add(engine.model)
        named: dict[str, list[Any]] = {}
        found: dict[str, Answer] = {}

        def unanswered() -> Iterator[Request]:
            nonlocal stopped
            for name, request in requests:
                key = engine.key(request)
                named.setdefault(key, []).append(name)
                if known := journal.answer(key):
                    found[key] = known
                elif failed := journal.failed(key):
                    found[key] = failed
                elif len(named[key]) == 1:
                    if self.stopping():
                        stopped = True
                        return
                    yield request

        for request, answer in engine.answers(unanswered()):
            key = engine.key(request)
            journal.store(key, engine.model, engine.price, answer)
            found[key] = answer
            self.tick(len(found), total)
        if stopped or any(key not in found for key in named):
            raise Stopped
        self.statuses.update(found[key].status for key in named)
        self.partial |= any(answer.status in RETRIABLE for answer in found.values())
        return {name: found[key] for key, names in named.items() for name in names}


class Pass(ABC):
    """A pass. Its constructor takes settings, and engines as configs of the settings that ``engines`` lists.

    ``reads`` are the passes whose tables it needs, ``uses`` those that it reads where the run has them. ``version`` grows when the
    same settings give other rows, so that shards are made again. ``asks`` tells that it asks engines.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1
    asks: ClassVar[bool] = False
    operational: ClassVar[frozenset[str]] = frozenset()
    """Arguments that do not change the rows, such as how many requests are in flight."""

    @abstractmethod
    def process_shard(self, inputs: Inputs) -> Output:
        """The tables of a shard: of its inputs alone, and the same whenever and wherever it runs."""

    def gather(self, parts: Iterable[tuple[str, Inputs]]) -> Mapping[str, Any] | None:
        """What each shard has to know of all shards, by shard, as plain JSON; None where it needs nothing.

        ``parts`` are read one by one, in the order of their names, and the result does not depend on that order.
        """
        return None

    def finish(self, run: "Run") -> None:  # noqa: B027
        """Called in the main process when every shard is done."""


_BUILT: dict[str, Engine] = {}


def engine_of(setting: str, config: Mapping[str, Any], contract: Any) -> Engine:
    """The engine of a config, one in this process for all that say the same; ``ValueError`` where it is no such engine."""
    known = digest(dict(config))
    if known not in _BUILT:
        _BUILT[known] = ENGINES.build(dict(config))
    engine = _BUILT[known]
    if not isinstance(engine, contract):
        raise ValueError(f"{setting}.type={config['type']!r} is no {contract.__name__}; give one that is, see finevit plugins")
    return engine


def status_counts(statuses: Iterable[str]) -> dict[str, int]:
    """How many of each, the most first."""
    return dict(Counter(statuses).most_common())


def kept(inputs: Inputs, *, kind: str = "") -> list[str]:
    """Sample ids of the images that no pass so far has rejected, in the order of the shard; of one ``kind`` where it is given."""
    gone: set[int] = {
        row["row"] for name in ("quality", "duplicates") for row in inputs.rows(name, "verdicts") if row["verdict"] == "rejected"
    }
    kinds = {row["sample_id"]: row["kind"] for row in inputs.rows("ocr", "kinds")}
    return [
        row["sample_id"]
        for row in inputs.rows("index", "images")
        if row["verdict"] == "kept" and row["row"] not in gone and kind in ("", kinds.get(row["sample_id"], "photo"))
    ]


class Run(NamedTuple):
    """What ``finish`` gets: the ``dataset`` folder, the shards, the note of each pass and shard, and a hash of the config."""

    dataset: Path
    shards: list[str]
    sidecar: Callable[[str, str], Sidecar]
    config_hash: str
    models: Mapping[str, list[str]]


SELECTS = ("index", "quality", "duplicates")
"""The passes that decide which images are kept."""
VERDICTS = pa.schema([("row", pa.int32()), ("verdict", pa.string()), ("reasons", pa.list_(pa.string()))])
