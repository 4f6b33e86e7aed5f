"""The files of a pass: tables of each shard, and a note that says they are whole, written last.

``WORK/passes/PASS/`` holds, for each shard, ``SHARD.TABLE.parquet``, ``SHARD.done.json``, ``SHARD.journal.sqlite`` (passes that ask
models), ``SHARD.shared.json`` (what the pass gathered from all shards for this one) and, while it is worked on, ``SHARD.progress``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from finevit.recaption.journal import ENDING
from finevit.shards.files import encoded
from finevit.storage.durable import write_file

DONE, PARTIAL = "done", "partial"
"""States of a shard in a pass: ``partial`` where another run may complete rows whose requests failed for the moment."""


@dataclass(frozen=True)
class Done:
    """What is noted of a finished shard: ``fingerprint`` of what it was made from, rows and
    sha256 of each table, counts by status, ``notes`` that are of use to later passes, as plain JSON, and what it
    took: time, time of the process's cores, and the most memory that the process has had."""

    state: str
    fingerprint: str
    rows: Mapping[str, int] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


@dataclass(frozen=True)
class Sidecar:
    """The files of one shard in one pass."""

    folder: Path
    shard: str

    def path(self, ending: str) -> Path:
        """A file of the shard, by the ending of its name."""
        return self.folder / f"{self.shard}{ending}"

    @property
    def journal(self) -> Path:
        """Where the answers are written down."""
        return self.path(ENDING)

    def done(self) -> Done | None:
        """The note of a finished shard; None where there is none, or it is broken."""
        try:
            return Done(**json.loads(self.path(".done.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def table(self, name: str) -> pa.Table:
        """A table of a finished shard."""
        return pq.read_table(self.path(f".{name}.parquet"))

    def write(self, tables: Mapping[str, pa.Table], done: Done) -> Done:
        """Replaces what is there: the old note goes first and the new one comes last, so that it never speaks of other tables."""
        self.path(".done.json").unlink(missing_ok=True)
        digests = {}
        for name, table in tables.items():
            data = encoded(table)
            digests[name] = hashlib.sha256(data).hexdigest()
            write_file(self.path(f".{name}.parquet"), partial(_write, data=data))
        done = Done(**{**asdict(done), "rows": {name: table.num_rows for name, table in tables.items()}, "sha256": digests})
        write_json(self.path(".done.json"), asdict(done))
        return done


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)


def write_json(path: Path, value: Any) -> None:
    """A small file, whole or not at all."""
    data = (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    write_file(path, lambda file: file.write(data))


def read_json(path: Path) -> Any:
    """What ``write_json`` wrote; None where nothing whole is there."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def digest(*values: Any) -> str:
    """32 hexadecimal digits of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:32]
