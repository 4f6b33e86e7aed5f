"""Image files that are small, or sound, and cost far more to read than they look: made on the fly, by what they do."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

Bomb = Callable[[], bytes]
_LONGEST = 32_767  # blocks without a coefficient that one code of a progressive JPEG stands for


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _bits(text: str) -> bytes:
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")


def frame(side: int, *, marker: int = 0xC2, sampling: int = 0x11) -> bytes:
    parts = bytes([1, sampling, 0, 2, 0x11, 0, 3, 0x11, 0])
    tables = segment(0xDB, bytes([0] + [1] * 64))
    return b"\xff\xd8" + tables + segment(marker, struct.pack(">BHHB", 8, side, side, 3) + parts)


def _table(kind: int, symbol: int) -> bytes:
    """A Huffman table of one code, a single 0."""
    return segment(0xC4, bytes([kind << 4, 1, *[0] * 15, symbol]))


def scan(side: int, component: int, low: int = 1, high: int = 63, approximation: int = 0) -> bytes:
    blocks, codes = (-(-side // 8)) ** 2, ""
    for run in [_LONGEST] * (blocks // _LONGEST) + [1 << 14] * (blocks % _LONGEST > 0):
        codes += f"0{run - (1 << 14):014b}"
    return segment(0xDA, bytes([1, component, 0, low, high, approximation])) + _bits(codes)


def progressive(side: int = 6300, scans: int = 10_000, *, approximation: int = 0, sampling: int = 0x11) -> bytes:
    """A flat picture, to which scans without a coefficient add nothing."""
    blocks = (-(-side // 8)) ** 2 * 3
    first = segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 0, 0, 0])) + bytes(blocks // 8 + 8)
    empty = [scan(side, part, approximation=approximation) for part in (1, 2, 3)]
    body = b"".join(empty[number % 3] for number in range(scans))
    return frame(side, sampling=sampling) + _table(0, 0) + first + _table(1, 0xE0) + body + b"\xff\xd9"


def sequential(side: int = 2000, scans: int = 10_000) -> bytes:
    """Scans of a baseline picture that come again and again."""
    body = b""
    blocks = (-(-side // 8)) ** 2
    one = segment(0xDA, bytes([1, 1, 0, 0, 63, 0])) + bytes(blocks * 2 // 8 + 1)
    body = one * scans
    return frame(side, marker=0xC0) + _table(0, 0) + _table(1, 0) + body + b"\xff\xd9"


def _jpeg(side: int = 512, **options: object) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG", **options)
    return file.getvalue()


def with_segments(content: bytes, count: int, marker: int = 0xE1) -> bytes:
    data = _jpeg()
    return data[:2] + segment(marker, content) * count + data[2:]


def ifd(count: int, kind: int, values: int, offset: int, first: int = 0x8000) -> bytes:
    """A directory of ``count`` tags that all lie at one place."""
    tags = b"".join(struct.pack("<HHLL", first + number, kind, values, offset) for number in range(count))
    return struct.pack("<H", count) + tags + struct.pack("<L", 0)


def exif(content: bytes) -> bytes:
    return b"Exif\0\0II*\0" + struct.pack("<L", 8) + content


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes | None = None, before: bytes = b"") -> bytes:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    line = (width * channels * depth + 7) // 8 + 1
    if rows is None:
        pack = zlib.compressobj(1)
        packed = b"".join(pack.compress(bytes(line)) for _ in range(height)) + pack.flush()
    else:
        packed = zlib.compress(rows, 1)
    begin = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return begin + before + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def split_idat(piece: int, side: int = 512, empty: int = 0) -> bytes:
    rows = np.random.default_rng(0).integers(0, 256, (side, 3 * side + 1), dtype=np.uint8)
    rows[:, 0] = 0
    packed = zlib.compress(rows.tobytes(), 1)
    begin = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    parts = b"".join(chunk(b"IDAT", packed[at : at + piece]) for at in range(0, len(packed), piece))
    return begin + chunk(b"IDAT", b"") * empty + parts + chunk(b"IEND", b"")


def tiff(tags: dict[int, tuple[int, int, int]], data: bytes = b"", *, chain: int = 0, extra: bytes = b"", count: int = 0) -> bytes:
    """``tags`` -> type, count, value; ``data`` begins at byte 8; ``extra`` directories follow."""
    at = 8 + len(data) + len(data) % 2
    entries = b"".join(struct.pack("<HHLL", tag, *entry) for tag, entry in sorted(tags.items()))
    body = struct.pack("<H", len(tags) + count) + entries + extra
    return b"II*\0" + struct.pack("<L", at) + data + b"\0" * (len(data) % 2) + body + struct.pack("<L", chain)


def plain(width: int, height: int, *, compression: int = 1, tile: int = 0, rows: int = 0, bits: int = 8, samples: int = 3) -> dict:
    found = {256: (4, 1, width), 257: (4, 1, height), 259: (3, 1, compression), 277: (3, 1, samples), 262: (3, 1, 2)}
    found[258] = (3, 1, bits) if samples == 1 else (3, samples, 0)
    if samples == 1:
        found[262] = (3, 1, 1)
    if tile:
        return found | {322: (4, 1, tile), 323: (4, 1, tile), 324: (4, 1, 8), 325: (4, 1, 0)}
    return found | {273: (4, 1, 8), 278: (4, 1, rows or height), 279: (4, 1, 0)}


def deflated(width: int, height: int, *, tile: int = 0, samples: int = 1, compression: int = 8) -> bytes:
    packed = zlib.compressobj(9)
    line = bytes(samples * (tile or width))
    data = b"".join(packed.compress(line) for _ in range(tile or height)) + packed.flush()
    tags = plain(width, height, tile=tile, samples=samples, compression=compression)
    tags[325 if tile else 279] = (4, 1, len(data))
    if samples == 3:
        tags[258] = (3, 3, 8 + len(data))
        data += struct.pack("<HHH", 8, 8, 8)
    return tiff(tags, data)


def many_strips(count: int, width: int = 8) -> bytes:
    offsets, lengths = struct.pack("<L", 8) * count, struct.pack("<L", width) * count
    tags = plain(width, count, rows=1, samples=1)
    data = bytes(width) + offsets + lengths
    tags |= {273: (4, count, 8 + width), 279: (4, count, 8 + width + 4 * count)}
    return tiff(tags, data)


def ifd_chain(count: int) -> bytes:
    """Directories one after another, each of which names the next."""
    first = deflated(16, 16)
    at = len(first)
    body = b"".join(
        struct.pack("<HHHLLL", 1, 256, 4, 1, 16, at + 18 * (number + 1) if number + 1 < count else 0) for number in range(count)
    )
    return first[:-4] + struct.pack("<L", at) + body


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def gif_frames(count: int) -> bytes:
    data = saved(Image.new("P", (64, 64)), "GIF")
    start = data.index(b",", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    return data[:start] + data[start:-1] * count + b";"


def gif_comments(count: int, blocks: int = 4) -> bytes:
    data = saved(Image.new("P", (64, 64)), "GIF")
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:start] + (b"!\xfe" + (b"\xff" + b"x" * 255) * blocks + b"\0") * count + data[start:]


def webp_frames(count: int, side: int = 64) -> bytes:
    data = saved(Image.new("RGB", (side, side)), "WEBP", lossless=True)
    inner = data[12:]
    size = (side - 1).to_bytes(3, "little")
    one = b"ANMF" + struct.pack("<L", 16 + len(inner)) + bytes(6) + size + size + (10).to_bytes(3, "little") + b"\2" + inner
    head = b"VP8X" + struct.pack("<L", 10) + b"\2\0\0\0" + size + size + b"ANIM" + struct.pack("<L", 6) + bytes(6)
    body = b"WEBP" + head + one * count
    return b"RIFF" + struct.pack("<L", len(body)) + body


def mpo_entries(count: int) -> bytes:
    """A JPEG that says that it holds countless pictures."""
    begin = b"II*\0" + struct.pack("<L", 8)
    tags = [(0xB000, 7, 4, int.from_bytes(b"0100", "little")), (0xB001, 4, 1, count), (0xB002, 7, 16 * count, 50)]
    index = struct.pack("<H", 3) + b"".join(struct.pack("<HHLL", *tag) for tag in tags) + struct.pack("<L", 0)
    content = begin + index + bytes(16 * count)
    return with_segments(b"MPF\0" + content[:65000], 1, 0xE2)


def bmp(side: int, bits: int = 24) -> bytes:
    size = (side * bits // 8 + 3) // 4 * 4 * side
    return (
        b"BM"
        + struct.pack("<LHHL", 54 + size, 0, 0, 54)
        + struct.pack("<LllHHLLllLL", 40, side, side, 1, bits, 0, 0, 0, 0, 0, 0)
        + bytes(size)
    )


def rle_bmp(side: int, run: bytes = b"\xff\0", count: int = 0) -> bytes:
    palette = bytes(1024)
    line = run * (count or -(-side // run[0])) + b"\0\0"
    data = line * side + b"\0\1"
    head = struct.pack("<LllHHLLllLL", 40, side, side, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<LHHL", 54 + 1024 + len(data), 0, 0, 54 + 1024) + head + palette + data


DECODED = 11_300
"""The side of a square of nearly 128 million pixels."""

BOMBS: dict[str, Bomb] = {
    "jpeg: 10,000 scans": progressive,
    "jpeg: 10,000 scans that refine": lambda: progressive(approximation=0x10),
    "jpeg: 300 scans of 11,000 pixels a side": lambda: progressive(11_000, 300),
    "jpeg: 90 scans of 11,000 pixels a side": lambda: progressive(11_000, 90),
    "jpeg: progressive, 11,300 pixels a side": lambda: progressive(DECODED, 3),
    "jpeg: progressive without a second scan": lambda: progressive(DECODED, 0),
    "jpeg: 10,000 sequential scans": lambda: sequential(512, 10_000),
    "jpeg: 5 MB of Exif": lambda: with_segments(b"Exif\0\0" + bytes(500), 10_000),
    "jpeg: 5 MB of small Exif": lambda: with_segments(b"Exif\0\0" + bytes(14), 210_000),
    "jpeg: 60 MB of Exif": lambda: with_segments(b"Exif\0\0" + bytes(65_000), 920),
    "jpeg: 5 MB of empty segments": lambda: with_segments(b"", 1_250_000, 0xE5),
    "jpeg: 5 MB of comments": lambda: with_segments(b"x", 1_000_000, 0xFE),
    "jpeg: 5 MB of XMP": lambda: with_segments(b"http://ns.adobe.com/xap/1.0/\0" + b"tiff:Orientation" * 4000, 80),
    "jpeg: 60 MB of ICC": lambda: with_segments(b"ICC_PROFILE\0\1\1" + bytes(65_000), 920, 0xE2),
    "jpeg: 20 MB of Huffman tables": lambda: with_segments((bytes([0x10, *[0] * 8, 1, *[0] * 7, 0])) * 3000, 350, 0xC4),
    "jpeg: 1,000,000 restart intervals": lambda: with_segments(b"\0\1", 1_000_000, 0xDD),
    "jpeg: Photoshop resources": lambda: with_segments(b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000, 300, 0xED),
    "jpeg: 65,000 tags at one place": lambda: with_segments(exif(ifd(5000, 7, 60_000, 8)), 1),
    "jpeg: 65,000 tags over several segments": lambda: (
        with_segments(exif(ifd(5300, 7, 4_000_000, 8)), 1)[:2]
        + segment(0xE1, exif(ifd(5300, 7, 4_000_000, 8)))
        + segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 70
        + _jpeg()[2:]
    ),
    "jpeg: 4,000 pictures": lambda: mpo_entries(4000),
    "jpeg: pictures behind pictures": lambda: _jpeg() * 200,
    "jpeg: fill bytes": lambda: _jpeg()[:2] + b"\xff" * 20_000_000 + _jpeg()[2:],
    "jpeg: rubbish before a segment": lambda: _jpeg()[:2] + b"\0" * 20_000_000 + _jpeg()[2:],
    "png: 11,300 pixels a side": lambda: png(DECODED, DECODED),
    "png: 11,300 pixels a side, 16 bits": lambda: png(DECODED, DECODED, depth=16),
    "png: 11,300 pixels a side, transparent, 16 bits": lambda: png(DECODED, DECODED, depth=16, colour=6),
    "png: 11,300 pixels a side, transparent": lambda: png(DECODED, DECODED, colour=6),
    "png: 11,300 pixels a side, grey of 16 bits": lambda: png(DECODED, DECODED, depth=16, colour=0),
    "png: 11,300 pixels a side, one bit": lambda: png(DECODED, DECODED, depth=1, colour=0),
    "png: 11,300 pixels a side, turned": lambda: png(
        DECODED, DECODED, before=chunk(b"eXIf", exif(struct.pack("<HHHLLL", 1, 0x112, 3, 1, 6, 0))[6:])
    ),
    "png: 9,990 pixels a side": lambda: png(9_990, 9_990),
    "png: 9,990 pixels a side, transparent": lambda: png(9_990, 9_990, colour=6),
    "png: 9,990 pixels a side, turned": lambda: png(
        9_990, 9_990, before=chunk(b"eXIf", exif(struct.pack("<HHHLLL", 1, 0x112, 3, 1, 6, 0))[6:])
    ),
    "png: 60,000 pixels a side": lambda: png(60_000, 60_000, rows=b""),
    "png: 8,000,000 empty chunks": lambda: png(16, 16, before=chunk(b"abCd", b"") * 8_000_000),
    "png: 1,000,000 chunks with digits": lambda: png(16, 16, before=chunk(b"ab1d", b"") * 1_000_000),
    "png: 5,000 texts behind odd chunks": lambda: png(
        16, 16, before=chunk(b"ab1d", b"") + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20), 9)) * 5000
    ),
    "png: 1,000 profiles behind odd chunks": lambda: png(
        16, 16, before=chunk(b"ab1d", b"") + chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2**24), 9)) * 1000
    ),
    "png: a text of 1 GB": lambda: png(16, 16, before=chunk(b"zTXt", b"Raw profile type exif\0\0" + _zeros(2**30))),
    "png: 200 texts of 64 MB": lambda: png(16, 16, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + _zeros(2**26)) * 200),
    "png: profile of 1 GB": lambda: png(16, 16, before=chunk(b"iCCP", b"k\0\0" + _zeros(2**30))),
    "png: pixels by the byte": lambda: split_idat(1),
    "png: 5,000,000 empty pieces": lambda: split_idat(8192, empty=5_000_000),
    "png: tags at one place": lambda: png(16, 16, before=chunk(b"eXIf", exif(ifd(30_000, 7, 300_000, 8))[6:])),
    "png: 100,000 frames": lambda: png(
        16,
        16,
        before=chunk(b"acTL", struct.pack(">II", 100_000, 0))
        + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 16, 16, 0, 0, 1, 1, 0, 0)) * 100_000,
    ),
    "png: pixels without end": lambda: png(16, 16, rows=bytes(2**29)),
    "png: interlaced": lambda: _interlaced(),
    "gif: 50,000 frames": lambda: gif_frames(50_000),
    "gif: 20,000 comments": lambda: gif_comments(20_000),
    "gif: a comment of 20 MB": lambda: gif_comments(1, 80_000),
    "gif: 11,300 pixels a side": lambda: _gif(DECODED, DECODED),
    "webp: 20,000 frames": lambda: webp_frames(20_000),
    "webp: 11,300 pixels a side": lambda: saved(Image.new("RGB", (DECODED, DECODED)), "WEBP", lossless=True, quality=0, method=0),
    "webp: 16,383 pixels a side": lambda: _webp_lie(),
    "bmp: 11,300 pixels a side": lambda: bmp(DECODED),
    "bmp: run lengths": lambda: rle_bmp(8000),
    "bmp: short run lengths": lambda: rle_bmp(2000, b"\1\0"),
    "bmp: ends of lines": lambda: rle_bmp(8000, b"\1\0", count=1),
    "bmp: lies": lambda: bmp(16)[:18] + struct.pack("<ll", 60_000, 60_000) + bmp(16)[26:],
    "ppm: 11,300 pixels a side": lambda: b"P6 11300 11300 255\n" + bytes(3 * DECODED**2),
    "ppm: as text": lambda: b"P3 2000 2000 255\n" + b"0 " * 12_000_000,
    "ppm: of 10 bits": lambda: b"P6 4000 4000 1023\n" + bytes(96_000_000),
    "ppm: a comment of 30 MB": lambda: b"P6\n#" + b"x" * 30_000_000 + b"\n16 16 255\n" + bytes(768),
    "ppm: 30 MB of blanks": lambda: b"P6" + b" " * 30_000_000 + b"16 16 255\n" + bytes(768),
    "ppm: comments in the pixels": lambda: b"P2 16 16 255\n" + b"#\n" * 10_000_000 + b"0 " * 256,
    "tiff: one tile of 11,300 pixels a side": lambda: deflated(16, 16, tile=DECODED // 16 * 16),
    "tiff: one tile of 40,000 pixels a side": lambda: _one_tile(40_000),
    "tiff: one tile of 20,000 pixels a side, packed": lambda: deflated(16, 16, tile=20_000),
    "tiff: one strip": lambda: deflated(DECODED, DECODED, samples=3),
    "tiff: one grey strip of 9,990 pixels a side": lambda: deflated(9_990, 9_990),
    "tiff: one grey strip": lambda: deflated(DECODED, DECODED),
    "tiff: raw": lambda: _raw_tiff(DECODED),
    "tiff: 100,000 strips": lambda: many_strips(100_000),
    "tiff: 2,000,000 strips": lambda: many_strips(2_000_000, 1),
    "tiff: 50,000 directories": lambda: ifd_chain(50_000),
    "tiff: 65,000 tags at one place": lambda: tiff(
        plain(16, 16, samples=1), bytes(1_000_000), extra=ifd(60_000, 7, 1_000_000, 8, first=1000)[2:-4], count=60_000
    ),
    "tiff: a tag of 50,000,000 numbers": lambda: tiff(plain(16, 16, samples=1) | {0x9000: (3, 50_000_000, 8)}, bytes(100_000_000)),
    "tiff: strip offsets of 20,000,000 numbers": lambda: tiff(
        plain(16, 16, samples=1) | {273: (4, 20_000_000, 8), 279: (4, 20_000_000, 8)}, bytes(80_000_000)
    ),
    "tiff: pages that come again": lambda: deflated(16, 16)[:-4] + deflated(16, 16)[4:8],
    "tiff: a JPEG of 10,000 scans": lambda: _jpeg_in_tiff(progressive(2000, 10_000), 2000),
    "jpeg: a TIFF by content": lambda: deflated(16, 16, tile=20_000),
    "jpeg: a PSD by content": lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HLLHH", 3, 30_000, 30_000, 8, 3) + bytes(1000),
    "jpeg: JPEG 2000 by content": lambda: _jpeg2000(),
    "jpeg: ICNS by content": lambda: b"icns" + struct.pack(">L", 10_000_008) + (b"ic07" + struct.pack(">L", 8)) * 1_250_000,
    "avif: 8,000 pixels a side": lambda: _avif(8000),
    "avif: 100 frames": lambda: _avif_frames(100),
}


def _zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(count >> 20)) + packer.flush()


def _interlaced() -> bytes:
    data = png(6300, 6300, colour=6)
    head = struct.pack(">IIBBBBB", 6300, 6300, 8, 6, 0, 0, 1)
    rows = sum(
        -(-(6300 - y) // dy) * (4 * -(-(6300 - x) // dx) + 1)
        for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    )
    return data[:8] + chunk(b"IHDR", head) + chunk(b"IDAT", _zeros(rows + 2**20)) + chunk(b"IEND", b"")


def _gif(width: int, height: int) -> bytes:
    return saved(Image.new("P", (width, height)), "GIF")


def _webp_lie() -> bytes:
    size = (16_382).to_bytes(3, "little")
    inner = saved(Image.new("RGB", (8, 8)), "WEBP", lossless=True)[12:]
    small = (7).to_bytes(3, "little")
    one = b"ANMF" + struct.pack("<L", 16 + len(inner)) + bytes(6) + small + small + (10).to_bytes(3, "little") + b"\2" + inner
    head = b"VP8X" + struct.pack("<L", 10) + b"\2\0\0\0" + size + size + b"ANIM" + struct.pack("<L", 6) + bytes(6)
    body = b"WEBP" + head + one
    return b"RIFF" + struct.pack("<L", len(body)) + body


def _one_tile(side: int) -> bytes:
    return tiff(plain(16, 16, samples=1, tile=side, compression=8) | {325: (4, 1, 8)}, zlib.compress(b"")[:8])


def _raw_tiff(side: int) -> bytes:
    tags = plain(side, side) | {279: (4, 1, 3 * side * side), 258: (3, 3, 8 + 3 * side * side)}
    return tiff(tags, bytes(3 * side * side) + struct.pack("<HHH", 8, 8, 8))


def _jpeg_in_tiff(data: bytes, side: int) -> bytes:
    tags = plain(side, side, compression=7) | {262: (3, 1, 6), 279: (4, 1, len(data)), 258: (3, 3, 8 + len(data))}
    return tiff(tags, data + struct.pack("<HHH", 8, 8, 8))


def _jpeg2000() -> bytes:
    size = struct.pack(">HLLLLLLLLH", 0, 2**31, 2**31, 0, 0, 1, 1, 0, 0, 3) + b"\7\1\1" * 3
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(size) + 2) + size + bytes(100)


def _avif(side: int) -> bytes:
    return saved(Image.new("RGB", (side, side)), "AVIF", speed=10)


def _avif_frames(count: int) -> bytes:
    frames = [Image.new("RGB", (64, 64), (number, 0, 0)) for number in range(count)]
    return saved(frames[0], "AVIF", save_all=True, append_images=frames[1:], speed=10)
