"""The journal of a shard: every answer is written down before anything else is done with it, under the key of its request.

SQLite with a write-ahead log. ``answers`` holds answers alone, each once; ``failures`` what went wrong, each time that it did, and
never as an answer. ``known`` is a read-only journal of answers that were paid for before, by a dry run or under another plan.
"""

import json
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from finevit.recaption.contracts import FINAL, OK, Answer, Price

SYNCED_S = 1.0
"""A power cut costs the answers of so many seconds, a kill none."""
ENDING = ".journal.sqlite"
KNOWN = "known.sqlite"
"""In the folder of a pass: answers of journals that were merged."""
_COLUMNS = (
    "model TEXT NOT NULL, status TEXT NOT NULL, answer TEXT NOT NULL, attempts INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, "
    "completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL, money REAL NOT NULL"
)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, {_COLUMNS}) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (number INTEGER PRIMARY KEY, key TEXT NOT NULL, {_COLUMNS});
CREATE INDEX IF NOT EXISTS failures_of_key ON failures (key);
"""
_NAMES = "model, status, answer, attempts, prompt_tokens, completion_tokens, seconds, money"


class Spent(NamedTuple):
    """What a model cost: requests that were answered, and that failed, attempts beyond the first, tokens, seconds, money."""

    answered: int = 0
    failed: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    money: float = 0.0

    def __add__(self, other: tuple) -> "Spent":
        return Spent(*(one + another for one, another in zip(self, other, strict=True)))


class Journal:
    """The journal at ``path``, opened for one process; ``known`` may not be there.

    ``OSError`` where SQLite cannot write it.
    """

    def __init__(self, path: Path, *, known: Path | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._synced = path, time.monotonic()
        try:
            self._database = _open(path)
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise OSError(f"{path}: the journal cannot be opened ({error}); make room, or repair or remove it") from None
        self._known = _read_only(known) if known and known.is_file() else None

    def close(self) -> None:
        """Merges the log into the file."""
        self._database.close()
        if self._known:
            self._known.close()

    def answer(self, key: str) -> Answer | None:
        """The answer to a request; None where there is none yet."""
        row = self._database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None and self._known:
            row = self._known.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return _read(row)

    def failed(self, key: str) -> Answer | None:
        """How a request failed for good, if that is what it did last: it is not asked again."""
        query = "SELECT answer, status FROM failures WHERE key = ? ORDER BY number DESC LIMIT 1"
        row = self._database.execute(query, (key,)).fetchone()
        return _read(row) if row and row[1] in FINAL else None

    def store(self, key: str, model: str, price: Price, answer: Answer) -> None:
        """Writes an answer, or a failure."""
        money = price.of(answer.prompt_tokens, answer.completion_tokens)
        told = json.dumps(answer, ensure_ascii=True)
        tokens = answer.prompt_tokens, answer.completion_tokens
        row = (key, model, answer.status, told, answer.attempts, *tokens, answer.seconds, money)
        into = "OR IGNORE INTO answers" if answer.status == OK else "INTO failures"
        with self._database:
            self._database.execute(f"INSERT {into} (key, {_NAMES}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        if time.monotonic() - self._synced > SYNCED_S:
            self._database.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._synced = time.monotonic()

    def forget(self, statuses: set[str]) -> int:
        """Lets requests be asked again that failed for good with one of these statuses; how many failures these are."""
        marks = ", ".join("?" * len(statuses))
        with self._database:
            query = f"UPDATE failures SET status = 'forgotten' WHERE status IN ({marks})"
            return self._database.execute(query, tuple(statuses)).rowcount


def spent(database: sqlite3.Connection) -> dict[str, Spent]:
    """What the requests of a journal cost, by model."""
    total: dict[str, Spent] = {}
    sums = "COUNT(*), SUM(attempts) - COUNT(*), SUM(prompt_tokens), SUM(completion_tokens), SUM(seconds), SUM(money)"
    for table in ("answers", "failures"):
        for model, count, *rest in database.execute(f"SELECT model, {sums} FROM {table} GROUP BY model"):
            both = (count, 0) if table == "answers" else (0, count)
            total[model] = total.get(model, Spent()) + Spent(*both, *rest)
    return total


def spent_in(folder: Path) -> dict[str, Spent]:
    """What all journals of a pass cost, by model; also while others write them. One that is being made costs nothing yet."""
    total: dict[str, Spent] = {}
    for path in sorted(folder.glob(f"*{ENDING}")):
        with suppress(sqlite3.OperationalError), closing(_read_only(path)) as database:
            for model, cost in spent(database).items():
                total[model] = total.get(model, Spent()) + cost
    return total


def merge(sources: Iterable[Path], target: Path) -> int:
    """Adds the answers of journals to a journal of known ones; how many it has then."""
    with closing(_open(target)) as database:
        database.executescript(_SCHEMA)
        for source in sources:
            with closing(_read_only(source)) as other, database:
                rows = other.execute(f"SELECT key, {_NAMES} FROM answers")
                database.executemany(f"INSERT OR IGNORE INTO answers (key, {_NAMES}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        (count,) = database.execute("SELECT COUNT(*) FROM answers").fetchone()
    return count


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=30)
    database.execute("PRAGMA journal_mode = WAL")  # stays as it is on file systems that cannot
    database.execute("PRAGMA synchronous = NORMAL")  # a kill loses nothing; see SYNCED_S
    return database


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)


def _read(row: tuple | None) -> Answer | None:
    return Answer(*json.loads(row[0])) if row else None
