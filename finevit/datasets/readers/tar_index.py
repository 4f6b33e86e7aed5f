"""Where the parts of each sample lie in a tar: listed once, then kept in the user's cache."""

import contextlib
import logging
import os
import tarfile
import tempfile
import zipfile
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.logging import print_log

from finevit.cache import cache_folder

from .files import IMAGE_SUFFIXES

PARTS = ("image", "txt", "json", "cls")
"""The parts of a sample, in the order of ``TarIndex.spans``."""
_VERSION = 3


class TarIndex(NamedTuple):
    """The samples of one tar.

    ``keys``: strings ``[samples]``. ``spans``: ``int64 [samples, parts, 2]``, offset and size of each part, zeros where
    the sample has none. ``problems``: strings, what could not be used.
    """

    keys: np.ndarray
    spans: np.ndarray
    problems: np.ndarray


def load_index(path: Path) -> TarIndex:
    """Return the index of a tar, from the cache if the tar is as it was.

    A damaged or read-only cache does no harm; a tar that is not whole gives what can be read of it. Raises
    ``ValueError`` for a file that may not be read.
    """
    cached = _cached(path)
    try:
        with cached.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return TarIndex(*(arrays[field] for field in TarIndex._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        index = _list_or_explain(path)
    with contextlib.suppress(OSError):  # a full or read-only cache costs time, nothing else
        _save(index, cached)
    return index


def _list_or_explain(path: Path) -> TarIndex:
    print_log(f"listing {path}, once", logger="current", level=logging.INFO)
    try:
        return _list(path)
    except OSError as error:
        raise ValueError(f"data_root: cannot read {path} ({error.strerror}); check its permissions") from None


def _cached(path: Path) -> Path:
    stat = path.stat()
    identity = f"{_VERSION}|{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    return cache_folder() / "tars" / f"{blake2b(os.fsencode(identity), digest_size=16).hexdigest()}.npz"


def _save(index: TarIndex, cached: Path) -> None:
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cached.parent, suffix=".tmp", delete=False) as file:
        np.savez_compressed(file, **index._asdict())
    os.replace(file.name, cached)


def _list(path: Path) -> TarIndex:
    samples: dict[str, np.ndarray] = {}
    problems: list[str] = []
    whole = _list_members(path, samples, problems)
    listed, samples = samples, _readable(samples, path.stat().st_size)
    lost = [key for key in listed if key not in samples]
    if not whole:
        found = f"{len(samples):,} samples are readable, seen without a whole image: {len(lost):,}, what followed is unknown"
        problems.append(f"damaged, compressed or ends early; {found}; fetch or decompress it")
    problems += [f"{key} has no whole image" for key in lost]
    spans = np.array(list(samples.values()), dtype=np.int64).reshape(-1, len(PARTS), 2)
    return TarIndex(np.array(list(samples), dtype=np.str_), spans, np.array(problems, dtype=np.str_))


def _list_members(path: Path, samples: dict[str, np.ndarray], problems: list[str]) -> bool:
    """Place the members of a tar; whether it was read to its end."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                _place(member, samples, problems)
            return _at_end_mark(path, tar.offset)
    except (tarfile.TarError, ValueError, EOFError):
        return False


def _place(member: tarfile.TarInfo, samples: dict[str, np.ndarray], problems: list[str]) -> None:
    """Note where a member's bytes lie, if it is a part of a sample."""
    folder, slash, base = member.name.removeprefix("./").rpartition("/")
    stem, _, ending = base.partition(".")
    part = "image" if f".{ending.lower()}" in IMAGE_SUFFIXES else ending.lower()
    if not member.isreg() or member.issparse() or not stem or part not in PARTS:
        return
    spans = samples.setdefault(folder + slash + stem, np.zeros((len(PARTS), 2), dtype=np.int64))
    if spans[PARTS.index(part), 0]:
        problems.append(f"{member.name} is one {part} too many for its sample")
    else:
        spans[PARTS.index(part)] = member.offset_data, member.size


def _readable(samples: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Keep the parts that lie within the file's ``size`` bytes, and the samples that then have an image."""
    for spans in samples.values():
        spans[spans.sum(axis=1) > size] = 0
    return {key: spans for key, spans in samples.items() if spans[0, 0]}


def _at_end_mark(path: Path, offset: int) -> bool:
    """Whether listing stopped at the block of zeros that ends a tar, and not at damage or the end of the file."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
