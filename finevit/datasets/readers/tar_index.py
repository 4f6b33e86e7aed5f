"""Where the parts of each sample lie in a tar: listed once, then kept in the user's cache."""

import contextlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from finevit.console import say
from finevit.storage.durable import write_file
from finevit.storage.places import cache_folder
from finevit.storage.regular import open_regular

from .files import HEAD, IMAGE_SUFFIXES, Skipped
from .tar_files import NOWHERE, Place, TarFiles, read_place
from .unread import Unread, ending_of

PARTS = ("image", "txt", "json", "cls")
"""The parts of a sample, in the order of ``TarIndex.spans``."""


class TarSamples:
    """``samples``: key -> part -> place, each with an image; ``problems``: what is lost, by name; ``unread``: what is not read."""

    def __init__(self, path: Path) -> None:
        self.problems, self.unread = list[str](), Unread()
        self._path, self._tar = path, TarFiles(path)
        self._found, self._names = dict[str, dict[str, Place]](), dict[tuple[str, str], str]()
        self._told = set[str]()  # samples whose image is not read, for a reason that was told
        for name, place in self._tar.files:
            if name.rpartition("/")[2][:1] not in ("", "."):
                self._put(name, place)
        self._set_parts_aside()
        self.samples = {key: parts for key, parts in self._found.items() if parts.get("image", NOWHERE) != NOWHERE}
        self._tell(lost=[key for key in self._found if key not in self.samples and key not in self._told])

    def _put(self, name: str, place: Place) -> None:
        """Note a file as part of its sample, or as not read."""
        folder, slash, base = name.rpartition("/")
        stem, _, ending = base.rpartition(".")
        key, part = folder + slash + stem, "image" if f".{ending.lower()}" in IMAGE_SUFFIXES else ending.lower()
        known = bool(stem) and part in PARTS
        if name in self._tar.broken and (known or not stem):
            self.problems.append(self._tar.broken[name])
            self._told.update([key] if part == "image" else [])
        elif known and part in self._found.get(key, ()):
            self.problems.append(f"{name} is one {part} too many for its sample")
        elif known:
            self._found.setdefault(key, {})[part] = place
            self._names[key, part] = name
        elif place != NOWHERE and self.unread.meet(name, ending_of(name), lambda: self._head(place)):
            self._told.add(key)

    def _head(self, place: Place) -> bytes:
        beginning = place if place.size < 0 else Place(place.offset, min(place.size, HEAD))
        return read_place(self._path, beginning, name=str(self._path))

    def _set_parts_aside(self) -> None:
        """Take out what is but a further part of another sample: ``000.seg.png`` beside ``000.jpg``."""
        images = {key for key, parts in self._found.items() if "image" in parts} | self._told
        for key in list(self._found):
            base = next((base for base in _shorter(key) if base in images), None)
            if base is not None and not self._stands_alone(key, base):
                for part in self._found.pop(key):
                    name = self._names[key, part]
                    self.unread.add("part", name.removeprefix(base), name)

    def _stands_alone(self, key: str, base: str) -> bool:
        """Whether ``two.v2`` beside ``two`` is a sample: with a text or label of its own, or with all that ``two`` has; of images
        alone, where the ending is the same and what comes before it has a digit."""
        own, others = self._found[key].keys(), self._found.get(base, {}).keys()
        if "image" not in own or own & {"txt", "cls"} or own != others or len(own) > 1:
            return "image" in own and (bool(own & {"txt", "cls"}) or own == others)
        endings = {self._names[one, "image"].rpartition(".")[2] for one in (key, base)}
        return len(endings) == 1 and any(map(str.isdigit, key.removeprefix(base)))

    def _tell(self, lost: list[str]) -> None:
        self.problems += self._tar.nameless
        if not self._tar.whole:
            why = f" ({self._tar.why})" if self._tar.why else ""
            found = (
                f"{len(self.samples):,} samples are readable, seen without a whole image: {len(lost):,}, what followed is unknown"
            )
            self.problems.append(f"damaged, compressed or ends early{why}; {found}; fetch or decompress it")
        if self._tar.behind:
            self.problems.append(f"{self._tar.behind:,} bytes behind its end are no tar; what they held is unknown; fetch it again")
        self.problems += [f"{key} has no whole image" for key in lost]


def _shorter(key: str) -> Iterator[str]:
    """``a/22`` and ``a/22.05`` of ``a/22.05.x``."""
    start = key.rfind("/") + 2  # a name does not begin with the dot
    return (key[:place] for place in range(start, len(key)) if key[place] == ".")


_VERSION = 6


class TarIndex(NamedTuple):
    """The samples of one tar.

    ``keys``: strings ``[samples]``. ``spans``: ``int64 [samples, parts, 2]``, the ``Place`` of each part, zeros where the sample
    has none. ``problems``: strings, what could not be used. ``unread [kinds, 3]`` and ``counts [kinds]``: rows of ``Unread``.
    """

    keys: np.ndarray
    spans: np.ndarray
    problems: np.ndarray
    unread: np.ndarray
    counts: np.ndarray


def load_indices(paths: Sequence[Path], skipped: Skipped) -> list[TarIndex]:
    """The indices of several tars; what these cannot give is told to ``skipped``, files that are not read all together."""
    indices, unread = [load_index(path) for path in paths], Unread()
    for path, index in zip(paths, indices, strict=True):
        for problem in index.problems:
            skipped.add(f"{path.name}: {problem}")
        for (kind, ending, first), count in zip(index.unread.tolist(), index.counts.tolist(), strict=True):
            unread.add(kind, ending, f"{path.name}: {first}", count)
    unread.report(skipped)
    return indices


def load_index(path: Path) -> TarIndex:
    """Return the index of a tar, from the cache if the tar is as it was.

    A damaged or read-only cache does no harm; a tar that is not whole gives what can be read of it. Raises
    ``ValueError`` for a file that may not be read.
    """
    try:
        with open_regular(_cached(path)) as file, np.load(file, allow_pickle=False) as arrays:
            return TarIndex(*(arrays[field] for field in TarIndex._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        index = _list_or_explain(path)
    with contextlib.suppress(OSError):  # a full or read-only cache costs time, nothing else
        packed = BytesIO()
        np.savez_compressed(packed, **index._asdict())
        write_file(_cached(path), lambda file: file.write(packed.getbuffer()), shared=True)
    return index


def _list_or_explain(path: Path) -> TarIndex:
    say(f"listing {path}, once")
    try:
        return _list(path)
    except OSError as error:
        raise ValueError(f"data_root: cannot read {path} ({error.strerror}); check its permissions") from None


def _cached(path: Path) -> Path:
    stat = path.stat()
    identity = f"{_VERSION}|{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    return cache_folder() / "tars" / f"{blake2b(os.fsencode(identity), digest_size=16).hexdigest()}.npz"


def _list(path: Path) -> TarIndex:
    tar = TarSamples(path)
    spans = [[parts.get(part, NOWHERE) for part in PARTS] for parts in tar.samples.values()]
    unread, counts = tar.unread.rows()
    return TarIndex(
        keys=np.array(list(tar.samples), dtype=np.str_),
        spans=np.array(spans, dtype=np.int64).reshape(-1, len(PARTS), 2),
        problems=np.array(tar.problems, dtype=np.str_),
        unread=np.array(unread, dtype=np.str_).reshape(-1, 3),
        counts=np.array(counts, dtype=np.int64),
    )
