"""TIFF files: how much work and memory their first directory announces."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from finevit.datasets.decoding.jpeg import MAX_WORK
from finevit.datasets.decoding.pixels import Unusable

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_TAGS = 4096
"""Most tags of a directory; those of microscopes and of Photoshop are a hundred."""
MAX_NUMBERS = 400_000
"""Most numbers in all tags together: 200,000 strips or tiles, with offset and length of each."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_BYTES = (1, 2, 6, 7)
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS = 256, 257, 258, 259, 277, 278
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_JPEG = (6, 7)


class _Tag(NamedTuple):
    kind: int
    number: int
    value: int
    """The first of the values where they fit into the entry, else where they lie."""

    @property
    def size(self) -> int:
        return self.number * _SIZES.get(self.kind, 0)


def check(data: bytes) -> None:
    """``Unusable`` where the first directory holds too much, or a JPEG in it too many scans."""
    tags = _tags(data)
    numbers = sum(tag.number for tag in tags.values() if tag.kind not in _BYTES)
    if numbers > MAX_NUMBERS:
        raise Unusable(f"{numbers:,} numbers in its tags, more than the limit of {MAX_NUMBERS:,}; save it in larger strips")
    if _of(tags, _COMPRESSION, 1) in _JPEG:
        _check_scans(data, tags)


def buffer(data: bytes) -> int:
    """Bytes that a strip or tile takes while it is decoded, and the tags."""
    tags = _tags(data)
    wide, high = _piece(tags)
    bits = data[tags[_BITS].value : tags[_BITS].value + 2] if _BITS in tags and tags[_BITS].size > 4 else b""
    depth = int.from_bytes(bits, "little" if data[:2] == b"II" else "big") or _of(tags, _BITS, 1)
    raw = _of(tags, _COMPRESSION, 1) == 1 and _TILE_WIDTH not in tags
    told = 0 if raw else max(wide * high * depth * _of(tags, _SAMPLES, 1) // 8, 4 * wide * high * (_of(tags, _SAMPLES, 1) > 1))
    return told + 2 * sum(tag.size for tag in tags.values() if tag.size <= len(data))


def _piece(tags: dict[int, _Tag]) -> tuple[int, int]:
    """Width and height of a strip or tile."""
    if _TILE_WIDTH in tags:
        return _of(tags, _TILE_WIDTH, 0), _of(tags, _TILE_HEIGHT, 0)
    high = _of(tags, _HEIGHT, 0)
    return _of(tags, _WIDTH, 0), min(high, _of(tags, _ROWS, high) or high)


def _check_scans(data: bytes, tags: dict[int, _Tag]) -> None:
    """As of JPEG files; libtiff allows 100 scans in each strip or tile."""
    wide, high = _piece(tags)
    if (work := data.count(b"\xff\xda") * wide * high) > MAX_WORK:
        raise Unusable(f"{work:,} pixels in all scans of its strips or tiles, more than the limit of {MAX_WORK:,}; save it as PNG")


def _tags(data: bytes) -> dict[int, _Tag]:
    return dict(_entries(data))


def _entries(data: bytes) -> Iterator[tuple[int, _Tag]]:
    """The tags of the first directory, as far as there are any."""
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    counted, entry = (order + "Q", order + "HHQ8s") if big else (order + "H", order + "HHL4s")
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "L"), data, 8 if big else 4)
        (count,) = struct.unpack_from(counted, data, at)
    except (struct.error, OverflowError):
        return
    if count > MAX_TAGS:
        raise Unusable(f"{count:,} tags, more than the limit of {MAX_TAGS:,}; save it without its metadata")
    at += struct.calcsize(counted)
    for place in range(
        at, min(at + count * struct.calcsize(entry), len(data) - struct.calcsize(entry) + 1), struct.calcsize(entry)
    ):
        tag, kind, number, value = struct.unpack_from(entry, data, place)
        size = _SIZES.get(kind, 0)
        inside = value[:size] if number * size <= len(value) else value
        yield tag, _Tag(kind, number, int.from_bytes(inside, "little" if order == "<" else "big"))


def _of(tags: dict[int, _Tag], tag: int, default: int) -> int:
    return tags[tag].value if tag in tags else default
