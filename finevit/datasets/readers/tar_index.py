"""Where the parts of each sample lie in a tar: listed once, then kept in the user's cache."""

import contextlib
import os
import zipfile
from collections.abc import Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from finevit.console import say
from finevit.hub.cache import cache_folder
from finevit.storage.durable import write_file
from finevit.storage.regular import open_regular

from .files import Skipped
from .tar_files import NOWHERE
from .tar_samples import PARTS, TarSamples
from .unread import Unread

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
