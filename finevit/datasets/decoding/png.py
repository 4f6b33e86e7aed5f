"""PNG files without the metadata that no pixel depends on: colour profiles, texts and times, which may be damaged or huge."""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from finevit.datasets.decoding.pixels import Unusable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 2**16
"""Most chunks of a file: pieces of pixels have 8 KB each, where encoders divide them at all."""
_SEEN = (b"tRNS", b"eXIf")
"""Chunks that a decoder may do without, but that change what is seen: transparency and orientation."""
_COLOURS = 25
"""The byte that says of which kind a picture's colours are: 0 grey, 2 RGB."""
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp", b"Raw profile type exif"
_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)[0-9]')
_NAME = re.compile(rb"\w{4}")
"""What Pillow takes for the name of a chunk."""
_INFLATED = 2**24
"""So many bytes of a compressed text are looked through for an orientation."""


class Chunk(NamedTuple):
    """A chunk's four letters, and where it starts and stops in the file, length and checksum included."""

    kind: bytes
    start: int
    stop: int


def without_metadata(data: bytes) -> tuple[bytes, bool]:
    """The file without the chunks that no pixel depends on, and whether its end was seen.

    What says how the picture is turned comes first: ``eXIf``, and of texts their orientation alone. As elsewhere, a damaged chunk
    that a picture can do without is left out; whatever else is wrong, the decoder says.
    """
    view, chunks = memoryview(data), list(_chunks(data))
    if not chunks or chunks[0].kind != b"IHDR":
        return data, False
    kept = [
        chunk
        for chunk in chunks
        if not chunk.kind[0] & 0x20 or (chunk.kind in _SEEN and _sound(view, chunk) and _long(view, chunk))
    ]
    body = [chunk for chunk in kept[1:] if chunk.kind != b"eXIf"]
    ended = chunks[-1].kind == b"IEND"
    if len(body) + 1 == len(chunks):
        return data, ended
    turns = [*(data[chunk.start : chunk.stop] for chunk in kept if chunk.kind == b"eXIf"), *_turning_texts(data, chunks)]
    rest = b"" if ended else view[chunks[-1].stop :]
    return b"".join([data[: chunks[0].stop], *turns, *_joined(view, body), rest]), ended


def raw_bytes(data: bytes) -> int:
    """How many bytes of pixels a PNG inflates to, by its header."""
    wide, high, depth, colours = struct.unpack_from(">IIBB", data, 16)
    return wide * high * depth * {2: 3, 4: 2, 6: 4}.get(colours, 1) // 8


def _chunks(data: bytes) -> Iterator[Chunk]:
    """The whole chunks, until one that is none."""
    start, count = len(SIGNATURE), 0
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        stop, count = start + 12 + length, count + 1
        if not _NAME.fullmatch(kind) or stop > len(data):
            return
        if count > MAX_CHUNKS:
            raise Unusable(f"more than {MAX_CHUNKS:,} chunks; save it anew")
        yield Chunk(kind, start, stop)
        if kind == b"IEND":
            return
        start = stop


def _joined(view: memoryview, chunks: list[Chunk]) -> Iterator[memoryview]:
    """The bytes of the chunks, those of neighbours in one piece."""
    start = stop = 0
    for chunk in chunks:
        if chunk.start != stop:
            yield view[start:stop]
            start = chunk.start
        stop = chunk.stop
    yield view[start:stop]


def _sound(view: memoryview, chunk: Chunk) -> bool:
    """Whether a chunk's checksum is right."""
    return zlib.crc32(view[chunk.start + 4 : chunk.stop - 4]) == int.from_bytes(view[chunk.stop - 4 : chunk.stop], "big")


def _long(view: memoryview, chunk: Chunk) -> bool:
    """Whether a transparent colour is as long as the picture's colours are, which decoders else refuse."""
    least = {0: 2, 2: 6}.get(view[_COLOURS], 1) if chunk.kind == b"tRNS" else 0
    return chunk.stop - chunk.start - 12 >= least


def _turning_texts(data: bytes, chunks: list[Chunk]) -> Iterator[bytes]:
    """The last text of each keyword that may say how the picture is turned, as a short chunk."""
    found = dict[bytes, Chunk]()
    for chunk in chunks:
        for keyword in (_XMP, _RAW_EXIF) if chunk.kind in _TEXTS else ():
            if data.startswith(keyword + b"\0", chunk.start + 8) and _sound(memoryview(data), chunk):
                found[keyword] = chunk
    for keyword, chunk in found.items():
        text = _text(chunk.kind, data[chunk.start + 9 + len(keyword) : chunk.stop - 4])
        if keyword == _RAW_EXIF:
            yield _chunk(b"tEXt", keyword + b"\0" + text)
        elif turned := _ORIENTATION.search(text):
            yield _chunk(b"iTXt", keyword + b"\0\0\0\0\0" + turned[0])


def _text(kind: bytes, content: bytes) -> bytes:
    """What follows the keyword of a text, inflated; nothing where it is damaged."""
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, content = content[:1] == b"\1", content[2:].split(b"\0", 2)[-1]
    elif packed:
        content = content[1:]
    try:
        return zlib.decompressobj().decompress(content, _INFLATED) if packed else content
    except zlib.error:
        return b""


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
