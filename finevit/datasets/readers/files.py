"""What the readers share: the base class of sources that live in files, reading bytes, and errors about paths."""

import contextlib
import logging
import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from mmengine.logging import print_log

from finevit.contracts import BadSample, Record, Source
from finevit.datasets.decoding.bounds import MAX_BYTES
from finevit.datasets.decoding.images import Header, header
from finevit.printable import printable
from finevit.storage.regular import open_regular
from finevit.suggest import did_you_mean

from .splits import select

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif"),
    *(".jfif", ".jpe", ".jif", ".jfi", ".pbm", ".pnm"),
)
"""Image files are known by these endings, in upper or lower case; the rare ones are other names of JPEG and PPM."""

MAX_TEXT = 2**20
"""Most bytes of a caption's file."""
MAX_ENTRY = 2**26
"""Most bytes of a JSON object about one image."""
HEAD = 2**16
"""Bytes in which an image file nearly always says how large the image is."""


class Skipped:
    """Entries that a reader left out when it opened: ``count`` of all ``seen``, and the first 1,000 lines about them, ``listed``.

    ``notes`` say what else is there and not read, with the remedy; it is no entry that is lost, and does not count. ``kinds``
    counts entries by what they are: images, or what belongs to one, such as expressions.
    """

    named = 5
    kept = 1000

    def __init__(self) -> None:
        self.count = self.seen = self._named = 0
        self.listed: list[str] = []
        self.notes: dict[str, str] = {}
        self.kinds = Counter[str]()

    def add(self, what: str, count: int = 1, *, of: str = "images") -> None:
        """Count an entry, or several of a kind; ``what`` names them and says why."""
        self.count += count
        self.kinds[of] += count
        if len(self.listed) < self.named:
            self._named += count
        if len(self.listed) < self.kept:
            self.listed.append(printable(what))

    def note(self, what: str, remedy: str = "") -> None:
        """Say what is not read, though it may be none of the data."""
        self.notes[printable(what)] = remedy

    def said(self) -> str:
        """What was left out and what is not read, with the remedies; empty where neither is."""
        notes = [f"{what}: {remedy}" if remedy else what for what, remedy in self.notes.items()]
        return "; ".join([*([str(self)] if self.count else []), *notes])

    def __str__(self) -> str:
        more = f"; and {self.count - self._named:,} more" if self.count > self._named else ""
        return "; ".join(self.listed[: self.named]) + more


class FileSource(Source):
    """Records that live in files, of which one split is shown.

    A subclass lists its records and gives ``record(row)``; this class maps the split's indices to rows and describes
    the whole. ``keys`` decide the split (see ``splits.select``). No file is held open, so that it can be copied.
    A file or folder that the system does not let a subclass read when it opens is a ``ValueError`` that names it.
    """

    suffix: ClassVar[str] = ""
    """Ending, as ``.csv``, of the files that ``OpenData``, and so the setting ``data_root``, gives to this reader."""

    def __init_subclass__(cls) -> None:
        if "__init__" in vars(cls):
            cls.__init__ = refusing_unreadable()(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, *, data_root: Path, keys: Sequence[str], captioned: int, skipped: Skipped, split: str, holdout: float):
        self.data_root, self.skipped, self.split = data_root, skipped, split
        skipped.seen = len(keys) + skipped.count
        self._rows = select(keys, split=split, holdout=holdout)
        self._about = f"{len(keys):,} images, {captioned:,} with a caption; split {split!r} shows {len(self._rows):,}"
        self._about += "" if split == "all" else f" ({holdout:.3g} of all is held out)"
        if skipped.count:
            self._about += f"; {skipped.count:,} unusable entries left out"
            print_log(f"{data_root}: left out {skipped.count:,}: {skipped}", logger="current", level=logging.WARNING)
        self._about += not_read(skipped)
        if skipped.notes:
            notes = "; ".join(f"{what}: {remedy}" if remedy else what for what, remedy in skipped.notes.items())
            print_log(f"{data_root}: not read: {notes}", logger="current", level=logging.WARNING)
        self._check_start()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        return self.record(int(self._rows[index]))

    @property
    def rows(self) -> np.ndarray:
        """Which of all records the split shows, ``int64 [records]``."""
        return self._rows

    def name(self, index: int) -> str:
        """By ``name_of`` the row."""
        return self.name_of(int(self._rows[index]))

    def name_of(self, row: int) -> str:
        """What a row is called, told without reading its image."""
        return str(row)

    def size(self, index: int) -> tuple[int, int] | None:
        """By the beginning of the image's file; None where that cannot be read."""
        place = self.image_at(int(self._rows[index]))
        if place is None:
            return None
        found = header_of(*place)
        return found.upright if found else None

    def image_at(self, row: int) -> tuple[Path, int, int] | None:
        """File, offset and bytes (-1: to the end) of a row's image; None where there is none, or it cannot be told."""
        return None

    def describe(self) -> str:
        """One line: the reader, the path, the numbers of images, of captions, of this split, of entries left out."""
        return f"{type(self).__name__} {self.data_root}: {self._about}"

    def _check_start(self) -> None:
        """Stop now if nothing can be read at all: a wrong image folder, for instance."""
        first = None
        for index in range(min(len(self), 1000)):
            try:
                self[index]
            except BadSample as error:
                first = first or error
            else:
                return
        if first:
            raise ValueError(f"data_root={str(self.data_root)!r}: none of its first {index + 1} samples can be read; {first}")

    @abstractmethod
    def record(self, row: int) -> Record:
        """Return the record of a row among all records, held out or not; ``BadSample`` where it cannot be read."""


@contextlib.contextmanager
def refusing_unreadable() -> Iterator[None]:
    """What the system does not let us read is a ``ValueError`` that names it."""
    try:
        yield
    except OSError as error:
        what = error.filename or "a file of the data"
        raise ValueError(f"{what} cannot be read ({error.strerror or error}); check its permissions, or restore it") from None


def not_read(skipped: Skipped) -> str:
    """The end of a description: what is there and not read."""
    return f"; not read: {'; '.join(skipped.notes)}" if skipped.notes else ""


def header_of(path: Path, offset: int = 0, size: int = -1) -> Header | None:
    """What an image file, or a part of ``size`` bytes of a file, says of itself at its beginning; None where it cannot be read."""
    with contextlib.suppress(OSError, ValueError), open_regular(path) as file:
        limit = min(size if size >= 0 else os.fstat(file.fileno()).st_size, MAX_BYTES)
        for most in (HEAD // 16, HEAD, size):
            file.seek(offset)
            if found := header(file.read(min(most, limit) if most >= 0 else limit), whole=most == size):
                return found
    return None


def head(path: str | Path) -> bytes:
    """The first bytes of a file, none where they cannot be read."""
    with contextlib.suppress(OSError), open_regular(path) as file:
        return file.read(HEAD)
    return b""


def read(path: Path, *, name: str, offset: int = 0, size: int = -1, max_bytes: int = MAX_BYTES) -> bytes:
    """Return ``size`` bytes of a file from ``offset``, by default all; ``BadSample`` calls the sample ``name``.

    More than ``max_bytes`` bytes are not read: no image, and nothing about one, is so large.
    """
    try:
        with open_regular(path) as file:
            wanted = size if size >= 0 else os.fstat(file.fileno()).st_size
            if wanted > max_bytes:
                raise BadSample(f"{name}: {path} has {wanted:,} bytes, more than the limit of {max_bytes:,}; remove its entry")
            if offset:
                file.seek(offset)
            data = file.read(wanted)
    except OSError as error:
        raise BadSample(f"{name}: cannot read {path} ({error.strerror}); restore it or remove its entry") from None
    except ValueError:  # a zero byte or half a surrogate pair, which JSON can write
        raise BadSample(f"{name}: {str(path)!r} cannot be the name of a file; correct or remove its entry") from None
    if 0 <= size != len(data):
        raise BadSample(f"{name}: {path} ended after {len(data)} of {size} bytes; fetch it again")
    return data


def existing(path: str | Path, *, setting: str = "data_root") -> Path:
    """Return the path, absolute; ``ValueError`` with a did-you-mean where nothing is there."""
    if not str(path):
        raise ValueError(f"{setting} is empty; give a folder of images, a .jsonl file or a .tar file, or a folder of these")
    full = Path(path).expanduser().absolute()
    with refusing_unreadable():
        if full.exists() and not (full.is_file() or full.is_dir()):
            raise ValueError(f"{setting}={str(path)!r} is neither a folder nor a regular file, but a pipe, a device or a socket")
        return full if full.exists() else _absent(full, path, setting)


def has_suffix(path: Path, suffix: str) -> bool:
    """Whether a path is a visible file of this suffix."""
    return path.suffix.lower() == suffix and path.name[0] != "." and path.is_file()


def files_of_suffix(root: Path, suffix: str) -> list[Path]:
    """The file that ``root`` is, or those of a suffix that lie in it."""
    files = [root] if root.is_file() else sorted(path for path in root.iterdir() if has_suffix(path, suffix))
    if not files:
        raise ValueError(f"data_root={str(root)!r} holds no {suffix} files")
    return files


def _absent(full: Path, path: str | Path, setting: str) -> Path:
    parent = next(folder for folder in full.parents if folder.is_dir())
    missing = full.relative_to(parent).parts[0]
    hint = did_you_mean(missing, (entry.name for entry in parent.iterdir())) or f"; {parent} holds no {missing!r}"
    raise ValueError(f"{setting}={str(path)!r} does not exist{hint}")


def clean(text: str) -> str:
    """Return a caption on one line: every run of white space becomes one space."""
    return " ".join(text.split())
