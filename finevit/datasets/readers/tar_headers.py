"""The members of one tar, out of headers that may say anything: lengths are bounded, and the listing only goes forward."""

import re
import tarfile
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, cast

LONGEST = 2**20
"""Bytes of a header, with the long names and records that belong to it."""
NAME = 1024
"""Characters of a name."""
SPARSE = 2**28
"""Bytes of a sparse file: one that names its holes could be of any size."""
_PAX = tarfile.XHDTYPE + tarfile.XGLTYPE + tarfile.SOLARIS_XHDTYPE
_RECORD = re.compile(rb"([0-9]{1,8}) [^=\n]+=")
_DIGITS = re.compile(rb"[0-9]{256}")


class Damaged(Exception):
    """A tar of which no more can be listed; the message, where there is one, says why."""


def members(file: BinaryIO, start: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """The members of the tar that begins at ``start``, each with the place behind it.

    Raises ``Damaged`` where a header cannot be read, or says what cannot be.
    """
    file.seek(start)
    try:
        with tarfile.open(fileobj=cast(BinaryIO, Headers(file)), mode="r:") as tar:
            for member in tar:
                if member.size < 0 or tar.offset <= member.offset:
                    raise Damaged(f"a size of {member.size:,} at byte {member.offset:,}")
                yield member, tar.offset
    except (Damaged, OSError):
        raise
    except (tarfile.TarError, EOFError):
        raise Damaged from None
    except Exception:  # what odd numbers lead to is anybody's guess
        raise Damaged("a header that says what cannot be") from None


class Headers:
    """A tar as ``tarfile`` reads its headers, which trusts what these say: lengths, and records within records."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._pax = file, False
        self.tell = file.tell

    def seek(self, position: int) -> int:
        """To a position that a file can have."""
        if not 0 <= position < 2**62:
            raise Damaged(f"a place at byte {position:,}")
        return self._file.seek(position)

    def read(self, size: int) -> bytes:
        """A block of a header, or what belongs to it."""
        if not 0 <= size <= LONGEST:
            raise Damaged(f"a header of {size:,} bytes at byte {self.tell():,}")
        data = self._file.read(size)
        if self._pax and not _records(data):
            raise Damaged(f"records of another length than they say, at byte {self.tell() - len(data):,}")
        self._pax = len(data) == tarfile.BLOCKSIZE and data[257:262] == b"ustar" and data[156:157] in _PAX and not self._pax
        return data


def _records(data: bytes) -> bool:
    """Whether a pax header is a row of records, each as long as it says; others cost ``tarfile`` their length squared."""
    at, text = 0, data.rstrip(b"\0")
    while at < len(text):
        found = _RECORD.match(text, at)
        end = at + int(found[1]) if found else 0
        if not found or end <= found.end() or end > len(text) or text[end - 1 : end] != b"\n":
            return False
        at = end
    return not _DIGITS.search(text)


def odd_holes(member: tarfile.TarInfo) -> bool:
    """Whether the parts of a sparse file are none that follow each other within its size."""
    parts = [(at, size) for at, size in cast(list[tuple[int, int]], member.sparse) if size]
    ends = [(at, at + size) for at, size in parts]
    apart = all(one[1] <= other[0] for one, other in pairwise(ends))
    within = all(0 <= at < end <= member.size for at, end in ends)
    return not (apart and within and member.size <= SPARSE)
