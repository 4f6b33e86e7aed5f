"""Which records of the source belong to which shard: written before the first shard, and grown where the source has grown."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from finevit.contracts import BadSample, Record, Source
from finevit.recaption.sidecars import read_json, write_json
from finevit.shards.files import TarWriter

ENDING = ".plan.json"


@dataclass(frozen=True)
class Planned:
    """The records of a shard: their places in the source, and what they are called."""

    source: Source
    rows: list[int]
    names: list[str]
    path: Path
    """Of the tar."""

    def __len__(self) -> int:
        return len(self.rows)

    def tar(self) -> AbstractContextManager[TarWriter]:
        """The tar that the images are written into."""
        return TarWriter(self.path)

    def records(self) -> Iterator[tuple[str, Record | BadSample]]:
        """Name and record, or why it cannot be read."""
        for row, name in zip(self.rows, self.names, strict=True):
            try:
                yield name, self.source[row]
            except BadSample as error:
                yield name, error


def plan(source: Source, folder: Path, *, per_shard: int, most: int | None = None) -> list[str]:
    """The names of the shards, each with its list of records in ``folder``.

    Shards that are there stay as they are: records that are new in the source get shards of their own. ``ValueError`` where planned
    records are gone from a shard that is not stored yet. ``most`` plans so many records, spread over the source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = {path.name.removesuffix(ENDING): read_json(path) for path in sorted(folder.glob(f"*{ENDING}"))}
    planned = {name for each in known.values() for name in each["names"]}
    places = _named(source, most)
    for shard, each in known.items():  # what is planned may have another place now
        rows = [places.get(name, -1) for name in each["names"]]
        if rows != each["rows"]:
            write_json(folder / f"{shard}{ENDING}", {"names": each["names"], "rows": rows})
    new = [name for name in places if name not in planned]
    first = max(map(int, known), default=-1) + 1
    shards = list(known)
    for number, begin in enumerate(range(0, len(new), per_shard), first):
        names = new[begin : begin + per_shard]
        shards.append(f"{number:05d}")
        write_json(folder / f"{shards[-1]}{ENDING}", {"names": names, "rows": [places[name] for name in names]})
    return shards


def planned(source: Source, folder: Path, shard: str, tar: Path) -> Planned:
    """The records of a shard. ``BadSample`` comes in place of those that are gone from the source."""
    told = read_json(folder / f"{shard}{ENDING}")
    return Planned(_Whole(source), told["rows"], told["names"], tar)


class _Whole(Source):
    """A source with places of records that are gone."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        if index < 0:
            raise BadSample("gone: the source does not have it any more")
        return self.source[index]

    def describe(self) -> str:
        return self.source.describe()


def _named(source: Source, most: int | None) -> dict[str, int]:
    """Place of each record by its name; the second of a name is ``name#2``."""
    met, places = Counter[str](), dict[str, int]()
    total = len(source)
    rows = range(total) if most is None or most >= total else sorted({index * total // most for index in range(most)})
    for row in rows:
        name = source.name(row)
        met[name] += 1
        places[name if met[name] == 1 else f"{name}#{met[name]}"] = row
    return places
