"""What a layout of images and annotations has to do: give records, and write some."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finevit.contracts import BadSample, Record, Region, Source
from finevit.datasets.readers.files import FileSource, Skipped, read
from finevit.shards.writing import SUFFIXES, look_at
from finevit.storage.durable import write_file


class ShardFormat(ABC):
    """A layout, under the name by which ``finevit shards import`` and ``export`` call it."""

    @abstractmethod
    def records(self, path: Path, *, images: Path | None, style: str) -> Source:
        """The records of the annotations at ``path``, whose images lie below ``images`` (by default, the folder of the path).

        ``style`` is how boxes stand in texts. What cannot be used is left out and told by the source's description.
        """

    @abstractmethod
    def write(self, source: Source, out: Path, *, style: str, advance: Callable[[], object]) -> Counter[str]:
        """Writes the records into the folder ``out``; what of them the layout cannot hold, counted by what it is."""


@dataclass
class Entry:
    """A record whose image is still a file: ``image`` is its path below the images' folder."""

    id: str
    image: str
    captions: dict[str, str] = field(default_factory=dict)
    regions: list[Region] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Entries(FileSource):
    """The records of annotations that were read as a whole; ``classes`` are the names of class ids, ``told`` what else
    is to be said of them."""

    def __init__(
        self,
        *,
        data_root: Path,
        images: Path,
        entries: list[Entry],
        skipped: Skipped,
        classes: tuple[str, ...] = (),
        told: Sequence[str] = (),
    ):
        if not entries:
            raise ValueError(f"{data_root} has no usable entry: {skipped.said() or 'it is empty'}")
        self._images, self._entries, self.classes = images, entries, classes
        captioned = sum(bool(entry.captions) for entry in entries)
        keys = [entry.id for entry in entries]
        super().__init__(data_root=data_root, keys=keys, captioned=captioned, skipped=skipped, split="all", holdout=0.0)
        self._about += "".join(f"; {what}" for what in told)

    def record(self, row: int) -> Record:
        """Reads the image of an entry."""
        entry = self._entries[row]
        image = read(self._images / entry.image, name=entry.id)
        return Record(entry.id, image, captions=entry.captions, regions=tuple(entry.regions), facts=entry.facts)

    def image_at(self, row: int) -> tuple[Path, int, int]:
        """The whole of an image file."""
        return self._images / self._entries[row].image, 0, -1


@dataclass(frozen=True)
class Stored:
    """A record whose image is stored: ``file`` is its name, ``width`` and ``height`` are those of the upright image."""

    record: Record
    number: int
    file: str
    data: bytes
    width: int
    height: int


def stored(source: Source, left_out: Counter[str], advance: Callable[[], object]) -> Iterator[Stored]:
    """The records with their images as files ``000000000.jpg``; those that cannot be read are counted."""
    for number in range(len(source)):
        try:
            record = source[number]
            data = record.image
            assert isinstance(data, bytes), "shards hold encoded images"
            looked = look_at(data, name=record.id)
        except BadSample as error:
            left_out[f"images: {error}"] += 1
        else:
            file = f"{number:09d}.{SUFFIXES.get(looked.format, looked.format.lower())}"
            yield Stored(record, number, file, data, looked.width, looked.height)
        advance()


def put(path: Path, data: bytes) -> None:
    """A file of an export, whole or absent."""
    write_file(path, lambda file: file.write(data))


def count_left(record: Record, left_out: Counter[str], *, known: Container[str]) -> None:
    """Counts what a record has and a layout, which holds what is ``known``, has no place for."""
    parts = {
        "captions": record.captions,
        "regions": record.regions,
        "questions": record.facts.get("questions", ()),
        "facts": {name for name in record.facts if name != "questions"},
        "captions that cannot be read or are shared": {*record.unread, *record.shared},
        "regions with an impossible box": record.unplaced,
    }
    for name, found in parts.items():
        if name not in known and found:
            left_out[name] += len(found)  # type: ignore[arg-type]
