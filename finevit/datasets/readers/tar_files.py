"""The files in a tar: links are followed, sparse ones found, and so are further tars that ``cat`` joined to the first."""

import posixpath
import re
import tarfile
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from finevit.contracts import BadSample
from finevit.datasets.decoding.bounds import MAX_BYTES
from finevit.storage.regular import open_regular

from .files import read

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


_CHUNK = 2**20
_LABEL = b"V"  # how GNU tar writes the name of a volume
_LINKS = 40  # so many symbolic links are followed one after another


class Place(NamedTuple):
    """Where a file's bytes lie in a tar; ``nowhere`` where it is not whole.

    Of a sparse file, whose bytes lie apart, ``offset`` is that of its header, and ``size`` is negative.
    """

    offset: int
    size: int


NOWHERE = Place(0, 0)


class TarFiles:
    """What a tar holds.

    ``files``: name and place of each, in their order. ``broken``: name -> why, of links that point out of the tar, of
    devices and odd sparse files. ``nameless``: what is wrong with members whose names are none.
    ``behind``: bytes after its end that are no tar. ``whole``: whether the listing came to the mark of the end; ``why`` it did not,
    where a header says what cannot be.
    """

    def __init__(self, path: Path) -> None:
        self.broken, self.nameless, self.behind, self.why = dict[str, str](), list[str](), 0, ""
        self._size, self._listed = path.stat().st_size, list[tuple[str, Place | None]]()
        self._places, self._links = dict[str, Place](), dict[str, str]()
        with open_regular(path) as file:
            self.whole = self._read(file)
        self.files = [(name, place if place is not None else self._follow(name)) for name, place in self._listed]

    def _read(self, file: BinaryIO) -> bool:
        """List all tars in the file; whether the last is followed by the mark of its end."""
        start = 0
        while start < self._size or not start:
            count = len(self._listed)
            try:
                end = self._read_one(file, start)
            except Damaged as error:
                self.why = str(error)
                return False
            if (next_one := _behind_zeros(file, end)) == end:
                self.behind = self._size - start if start and count == len(self._listed) else 0
                return bool(self.behind)
            start = next_one
        return True

    def _read_one(self, file: BinaryIO, start: int) -> int:
        """List the tar that begins at ``start``; where it stops."""
        end = start
        for member, behind in members(file, start):
            self._take(member)
            end = behind
        return end

    def _take(self, member: tarfile.TarInfo) -> None:
        """Note a file, or a link: a hard one to what came before it, a symbolic one to what may still come."""
        if not member.name.strip("/") or len(member.name) > NAME:
            self._refuse(member)
            return
        name = member.name.removeprefix("./")
        path = posixpath.normpath(name) if "//" in name or "./" in name else name
        target = posixpath.normpath(member.linkname) if member.linkname else ""
        if member.isreg():
            self._places[path] = place = self._place(member)
        elif member.islnk() and target in self._places:
            self._places[path] = place = self._places[target]
        elif member.islnk() or member.issym():
            pointed = (
                self._links.get(target, target) if member.islnk() else posixpath.join(posixpath.dirname(path), member.linkname)
            )
            self._links[path], place = posixpath.normpath(pointed), None
            self._places.pop(path, None)
        elif member.isdir() or member.type == _LABEL:
            return
        else:
            kind = "a device or a pipe" if member.isdev() else f"of the unknown kind {member.type.decode('latin-1')!r}"
            self.broken[name], place = f"{name} is no file but {kind}; write the tar anew with the file itself", NOWHERE
        self._listed.append((name, place))

    def _refuse(self, member: tarfile.TarInfo) -> None:
        """Note what has no name that a file can have."""
        if not member.isdir():
            what = f"a name of {len(member.name):,} characters" if member.name.strip("/") else "no name"
            self.nameless.append(f"the member at byte {member.offset:,} has {what}; write the tar anew")

    def _place(self, member: tarfile.TarInfo) -> Place:
        if member.sparse is None:
            whole = member.offset_data + member.size <= self._size
            return Place(member.offset_data, member.size) if whole else NOWHERE
        if odd_holes(member):
            self.broken[member.name.removeprefix("./")] = (
                f"{member.name} is a sparse file with odd holes; write the tar anew without -S"
            )
            return NOWHERE
        stored = sum(length for _, length in cast(list[tuple[int, int]], member.sparse))
        return Place(member.offset, -member.size) if member.offset_data + stored <= self._size else NOWHERE

    @cached_property
    def _folders(self) -> set[str]:
        return {folder for name in self._places for folder in _upwards(posixpath.dirname(name))}

    def _follow(self, name: str) -> Place:
        """The place of what a link points at, also by way of other links."""
        path = posixpath.normpath(name)
        pointed = self._links.get(path, path)
        for _ in range(_LINKS):
            if path in self._places:
                return self._places[path]
            link = next((part for part in _upwards(path) if part in self._links), "")
            if not link:
                break
            path = posixpath.normpath(self._links[link] + path.removeprefix(link))
        if path not in self._folders:
            remedy = "write the tar anew with what its links point at (tar --dereference --hard-dereference)"
            self.broken[name] = f"{name} is a link to {pointed}, which is not in the tar; {remedy}"
        return NOWHERE


def read_place(path: Path, place: Place, *, name: str) -> bytes:
    """The bytes of a file in a tar; ``BadSample`` calls it ``name``."""
    if place.size >= 0:
        return read(path, name=name, offset=place.offset, size=place.size)
    if -place.size > MAX_BYTES:
        raise BadSample(f"{name}: {-place.size:,} bytes with its holes, more than the limit of {MAX_BYTES:,}; remove it")
    try:
        with open_regular(path) as file:
            data = _sparse(file, place)
    except (OSError, ValueError, tarfile.TarError, Damaged) as error:
        raise BadSample(f"{name}: cannot read {path} ({error}); restore it") from None
    if len(data) != -place.size:
        raise BadSample(f"{name}: {path} holds {len(data)} of its {-place.size} bytes; fetch it again")
    return data


def _sparse(file: BinaryIO, place: Place) -> bytes:
    """A sparse file of the size that its place says; none where another is there by now."""
    member = next((member for member, _ in members(file, place.offset)), None)
    if member is None or member.sparse is None or member.size != -place.size or odd_holes(member):
        return b""
    data, at = bytearray(member.size), member.offset_data
    for start, size in cast(list[tuple[int, int]], member.sparse):
        file.seek(at)
        data[start : start + size] = file.read(size)
        at += size
    return bytes(data)


def _upwards(path: str) -> Iterator[str]:
    """A path, and all folders above it."""
    while path and path != "/":
        yield path
        path = posixpath.dirname(path)


def _behind_zeros(file: BinaryIO, offset: int) -> int:
    """The block behind the zeros that end a tar, or the end of the file; ``offset`` itself where no block of zeros begins."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        return offset
    position = offset + tarfile.BLOCKSIZE
    while chunk := file.read(_CHUNK):
        zeros = len(chunk) - len(chunk.lstrip(b"\0"))
        if zeros < len(chunk):
            return position + zeros // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
        position += len(chunk)
    return position
