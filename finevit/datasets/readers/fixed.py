"""Evaluation sets as their authors fixed them: which images, in which order, with which texts (paper, evaluation of Stage II)."""

import functools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from finevit.contracts import Question, Record
from finevit.storage.regular import read_regular
from finevit.suggest import did_you_mean

from .encodings import decode_text
from .fields import Odd, short
from .files import FileSource, Skipped, existing, not_read, read

MAX_DOCUMENT = 2**31
"""Most bytes of a file that is read as a whole: the largest annotations, of LVIS, have 1.2 GB."""
Item = TypeVar("Item")
Made = TypeVar("Made")


class Entry(NamedTuple):
    """One image of an evaluation set: ``image`` is its path below the folder of the images."""

    id: str
    image: str
    captions: Mapping[str, str] = {}
    facts: Mapping[str, object] = {}


class FixedSet(FileSource):
    """All entries of an evaluation set whose images are there, in the set's own order.

    An image that is not there is left out when the set is opened, and named, and so is an entry that says what cannot be: the
    description says how many of how many are shown, since fewer images make every number better. What cannot be read later is a
    ``BadSample``.

    Args:
        origin: the file or folder that defines the set.
        image_root: the folder that the images' paths start at.
        setting: the argument by which people name that folder.
        entries: what the set consists of.
        about: which set this is, for people.
        skipped: entries that were unusable already.
    """

    def __init__(
        self, *, origin: Path, image_root: Path, setting: str, entries: Sequence[Entry], about: str, skipped: Skipped | None = None
    ) -> None:
        skipped, self._image_root = skipped or Skipped(), image_root
        whole = len(entries) + skipped.kinds["images"]
        if not entries:
            raise ValueError(
                f"{origin} holds no usable entry: {skipped}" if skipped.count else f"{origin} holds no entries; fetch it again"
            )
        self._entries = present(entries, image_root, skipped)
        if not self._entries:
            closed = _listings()((image_root / entries[0].image).parent)[1]
            first = closed or f"looked for {image_root / entries[0].image}"
            there = f"it holds {listed(image_root)}"
            raise ValueError(f"{setting}={str(image_root)!r} holds none of the {whole:,} images of {origin}: {first}; {there}")
        ids = [entry.id for entry in self._entries]
        captions = sum(len(entry.captions) for entry in self._entries)
        super().__init__(data_root=origin, keys=ids, captioned=len(ids), skipped=skipped, split="all", holdout=0.0)
        counted = f"{len(ids):,} images" + (f", {captions:,} captions" if captions else "")
        self._about = f"{about}; {counted}{lacking(skipped, whole)}{not_read(skipped)}"

    def record(self, row: int) -> Record:
        """Read the image of an entry."""
        entry = self._entries[row]
        image = read(self._image_root / entry.image, name=entry.id)
        return Record(id=entry.id, image=image, captions=entry.captions, facts=entry.facts)

    def image_at(self, row: int) -> tuple[Path, int, int]:
        """The whole of an image file."""
        return self._image_root / self._entries[row].image, 0, -1


def lacking(skipped: Skipped, whole: int) -> str:
    """The end of a set's description: what of it was left out, of ``whole`` images; empty where nothing was."""
    counts = ((f"{count:,} of {whole:,}" if kind == "images" else f"{count:,}", kind) for kind, count in skipped.kinds.items())
    return f"; INCOMPLETE: {', '.join(map(' '.join, counts))} left out" if skipped.count else ""


def numbered(kind: str, items: Iterable[Item]) -> Iterator[tuple[str, Item]]:
    """Entries with what messages call them: their kind and their place in the file, from 0."""
    return ((f"{kind} {place}", item) for place, item in enumerate(items))


def usable(
    items: Iterable[tuple[str, Item]], read: Callable[[Item], Made], skipped: Skipped, *, path: Path, of: str, what: str
) -> Iterator[Made]:
    """What ``read`` makes of the named entries of a file; one of which it can make nothing is noted, as one ``of`` these.

    ``what`` says what an entry should be. One impossible entry is no reason to refuse a set.
    """
    for name, item in items:
        try:
            with expecting(path, what):
                made = read(item)
        except ValueError as error:
            fault = str(error).removeprefix(f"{path}: ").removesuffix("; fetch the file again")
            skipped.add(f"{path.name}: {name}: {fault}", of=of)
        else:
            yield made


def present(entries: Iterable[Entry], root: Path, skipped: Skipped) -> list[Entry]:
    """The entries whose image is below ``root``, each once; the others are noted in ``skipped``. Every folder is listed once."""
    found, seen, listing = [], set[str](), _listings()
    for entry in entries:
        path = root / entry.image
        if entry.id in seen:
            skipped.add(f"{entry.id} was there already; an image counts once")
            continue
        names, why = listing(path.parent)
        if path.name in names:
            seen.add(entry.id)
            found.append(entry)
        else:
            skipped.add(f"{entry.id}: {why or f'{path} is missing'}")
    return found


def _listings() -> Callable[[Path], tuple[frozenset[str], str]]:
    """The names in a folder, looked up once, and why they cannot be told."""

    @functools.cache
    def listing(folder: Path) -> tuple[frozenset[str], str]:
        try:
            return frozenset(os.listdir(folder)), ""
        except (FileNotFoundError, NotADirectoryError, ValueError):  # a name that no folder can have
            return frozenset(), ""
        except OSError as error:
            return frozenset(), f"{folder} cannot be read ({error.strerror}); check its permissions"

    return listing


def folder(root: Path, *names: str, setting: str = "data_root") -> Path:
    """The first of the folders ``names`` that is below ``root``; ``ValueError`` says what was looked for and what is there."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    wanted = " or ".join(f"{name}/" for name in names)
    hint = did_you_mean(names[0], [path.name for path in root.iterdir()]) if root.is_dir() else ""
    raise ValueError(f"{setting}={str(root)!r} holds no folder {wanted}{hint}; it holds {listed(root)}")


def listed(root: Path, most: int = 5) -> str:
    """The first few names in a folder, for people."""
    if not root.is_dir():
        return "no files, since it is not a folder"
    try:
        names = sorted(path.name + "/" * os.path.isdir(path) for path in root.iterdir())
    except OSError as error:
        return f"what cannot be told ({error.strerror})"
    return (", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")) or "nothing"


def annotation_file(annotations: str | Path, image_root: str | Path | None) -> tuple[Path, Path]:
    """The annotation file and the folder of the images, by default that of the file; both must be there."""
    path = existing(annotations, setting="annotations")
    if not path.is_file():
        raise ValueError(f"annotations={str(annotations)!r} is a folder; give the file: it holds {listed(path)}")
    return path, path.parent if image_root is None else existing(image_root, setting="image_root")


def load_json(path: Path) -> Any:
    """What a JSON file holds; ``ValueError`` names a file that is not JSON."""
    try:
        return json.loads(decode_text(read_regular(path, max_bytes=MAX_DOCUMENT)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); fetch it again") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); check its permissions") from None


@contextmanager
def expecting(path: Path, what: str) -> Iterator[None]:
    """A file whose entries lack what they should have, or say what cannot be, is named, with what its entries should be."""
    try:
        yield
    except Odd as error:
        raise ValueError(f"{path}: an entry is not {what}: {error}; fetch the file again") from None
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"{path}: {error}") from None
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):  # readers of others, and lists without end
        raise ValueError(f"{path}: an entry is not {what}; fetch the file again") from None


def by_image(asked: Iterable[tuple[str, Question]]) -> list[Entry]:
    """One entry for each image, with all questions about it, in the order in which they come."""
    found: dict[str, list[Question]] = {}
    for image, question in asked:
        found.setdefault(image, []).append(question)
    return [Entry(image, image, facts={"questions": tuple(questions)}) for image, questions in found.items()]


def answered(task: str, text: str, answers: object) -> Question:
    """A question with the first of its answers as ``answer`` and the others as ``strings``; ``ValueError`` where all are empty."""
    given = answers if isinstance(answers, list | tuple) else [answers]
    if wrong := [answer for answer in given if not _written(answer)]:
        raise ValueError(f"the {task} question {short(text)} has the answer {short(wrong[0])}, which is no text")
    texts = [answer if isinstance(answer, str) else short(answer) for answer in given if answer is not None]
    found = [text.strip() for text in texts if text.strip()]
    if not text.strip():
        raise ValueError(f"the {task} question has no words")
    if not found:
        raise ValueError(f"the {task} question {short(text)} has no answer")
    return Question(task=task, text=text.strip(), answer=found[0], strings=tuple(found[1:]))


def _written(answer: object) -> bool:
    """Whether an answer is a text or a number, or is left out."""
    number = isinstance(answer, int | float) and not isinstance(answer, bool) and math.isfinite(answer)
    return answer is None or isinstance(answer, str) or number
