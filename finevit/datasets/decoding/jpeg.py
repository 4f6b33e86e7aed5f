"""JPEG files: how much work their bytes announce, and the file without the segments that no pixel depends on."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from finevit.datasets.decoding.pixels import Unusable

SIGNATURE = b"\xff\xd8\xff"
MAX_SEGMENTS = 4096
"""Most segments of a header. 64 KB each, they hold what cameras and editors write (depth maps, C2PA, ICC) many times over."""
MAX_STRAY = 2**16
"""Most bytes between segments."""
MAX_SCANS = 256
"""Most scans: encoders write about 10, the most thorough optimisers 64."""
MAX_WORK = 3_000_000_000
"""Most scans times pixels, since each scan passes over all of the picture: 24 scans of 121 megapixels, 250 of 12."""
_MANY, _LARGE = 64, 2**20
"""Segments of metadata, and bytes of them, that are worth taking out before Pillow keeps and parses each."""
_EXIFS = 16
_COMMENT, _JFIF, _EXIF, _ADOBE = 0xFE, 0xE0, 0xE1, 0xEE
_SCAN, _END = 0xDA, 0xD9
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_ALONE = (0x00, 0x01, *range(0xD0, 0xDA))
"""Markers without a length: escaped bytes, restarts, beginnings and ends."""
_FILL = re.compile(rb"[^\xff]*\xff+")
_MARKER = re.compile(rb"\xff[^\0\x01\xff\xd0-\xd8]")
_XMP = b"http://ns.adobe.com/xap/"


class Segment(NamedTuple):
    """A marker, and where its segment starts and stops in the file, the marker included."""

    marker: int
    start: int
    stop: int


class Frame(NamedTuple):
    """Size in pixels, whether scans refine each other, and the sampling factors of the parts."""

    pixels: int
    progressive: bool
    sampling: tuple[tuple[int, int], ...]


def bounded(data: bytes) -> bytes:
    """The file, without metadata where there is much of it; ``Unusable`` where it has too many segments or scans."""
    found = list(_header(data))
    _check_scans(data, found)
    metadata = [part.stop - part.start for part in found if _is_metadata(part.marker)]
    return without_segments(data) if len(metadata) > _MANY or sum(metadata) > _LARGE else data


def without_segments(data: bytes) -> bytes:
    """The file without metadata but JFIF, Exif, XMP and a whole segment of Adobe, which says what colours mean."""
    kept, stop, exifs, xmp = [data[:2]], 2, 0, -1
    for part in _header(data):
        content = data[part.start + 4 : min(part.stop, part.start + 40)]
        is_exif, is_xmp = (part.marker == _EXIF and content.startswith(begin) for begin in (b"Exif\0", _XMP))
        exifs += is_exif
        if part.marker == _SCAN:
            break
        if is_xmp and xmp >= 0:
            kept[xmp] = b""  # of several the last counts
        if not _is_metadata(part.marker) or (is_exif and exifs <= _EXIFS) or is_xmp or _needed(part.marker, content):
            kept.append(data[part.start : part.stop])
            xmp = len(kept) - 1 if is_xmp else xmp
        stop = part.stop
    return b"".join([*kept, data[stop:]])


def coefficients(data: bytes) -> int:
    """Bytes that the coefficients of a JPEG take while it is decoded: of one whose scans complete each other, all of them."""
    found = list(_header(data))
    if not (frame := _frame(data, found)):
        return 0
    scan = next((part for part in found if part.marker == _SCAN), None)
    parts = data[scan.start + 4] if scan and scan.start + 4 < len(data) else 0
    if not frame.progressive and parts >= len(frame.sampling):
        return 0
    most = max(wide * high for wide, high in frame.sampling)
    return sum(2 * frame.pixels * wide * high // most for wide, high in frame.sampling)


def _header(data: bytes) -> Iterator[Segment]:
    """The segments until the first scan, which is the last; fewer where the file is torn."""
    at, count, stray = 2, 0, 0
    while found := _FILL.match(data, at):
        stray += found.end() - 1 - at
        start, at = found.end() - 1, found.end() + 1
        marker = data[start + 1] if at <= len(data) else _END
        if marker not in _ALONE:
            at = start + 2 + max(2, int.from_bytes(data[start + 2 : start + 4], "big"))
        if at > len(data):
            return
        count += 1
        if count > MAX_SEGMENTS or stray > MAX_STRAY:
            what = f"{MAX_SEGMENTS:,} segments" if count > MAX_SEGMENTS else f"{MAX_STRAY:,} bytes between its segments"
            raise Unusable(f"more than {what} before its pixels; save it without its metadata (jpegtran -copy none)")
        yield Segment(marker, start, at)
        if marker == _SCAN:
            return


def _check_scans(data: bytes, header: list[Segment]) -> None:
    if not header or header[-1].marker != _SCAN:
        return
    frame = _frame(data, header)
    most = min(MAX_SCANS, MAX_WORK // max(1, frame.pixels if frame else 1))
    if data.count(bytes([0xFF, _SCAN])) > most and (count := _scans(data, header[-1].stop, most)) > most:
        told = f"more than {most:,}, the limit for {frame.pixels:,} pixels" if frame else f"more than {most:,}"
        assert count
        raise Unusable(f"its scans are {told}; save it as a baseline JPEG (jpegtran -copy all)")


def _scans(data: bytes, at: int, most: int) -> int:
    """How many scans the picture has, as far as one more than ``most``; previews in metadata and further pictures do not count."""
    count, others = 1, 0
    while count <= most and others <= MAX_SEGMENTS * (most + 1) and (found := _MARKER.search(data, at)):
        marker, at = found[0][1], found.end()
        if marker == _END:
            break
        at += int.from_bytes(data[at : at + 2], "big")
        count, others = count + (marker == _SCAN), others + 1
    return count


def _frame(data: bytes, header: list[Segment]) -> Frame | None:
    part = next((part for part in header if part.marker in _FRAMES), None)
    if part is None or part.stop < part.start + 13:
        return None
    content = data[part.start + 4 : part.stop]
    factors = tuple(divmod(byte, 16) for byte in content[7 : 6 + 3 * content[5] : 3])
    high, wide = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
    return Frame(high * wide, part.marker in _PROGRESSIVE, factors) if all(map(min, factors)) and factors else None


def _is_metadata(marker: int) -> bool:
    return 0xE0 <= marker <= 0xEF or marker == _COMMENT


def _needed(marker: int, content: bytes) -> bool:
    whole = len(content) >= 12 and content.startswith(b"Adobe")
    return (marker == _ADOBE and whole) or (marker == _JFIF and len(content) >= 14 and content.startswith(b"JFIF\0"))
