"""Decoding: every kind of odd file gives upright RGB pixels or a BadSample, and nothing else."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, features

from finevit.contracts import BadSample
from finevit.datasets.decoding.images import Header, decode, header, header_size

RAMP = np.stack(np.meshgrid(np.arange(6) * 40, np.arange(4) * 60), -1)  # [4, 6, 2]
RGB = np.concatenate([RAMP, RAMP[..., :1] // 2], -1).astype(np.uint8)


def encode(image: Image.Image | np.ndarray, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, format, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand: ``rows`` are the raw scan lines, each with its leading filter byte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wide(values: np.ndarray) -> bytes:
    """16-bit values ``[height, width, 1, 2, 3 or 4]`` as a PNG."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_plain_pixels_are_exact_and_writable(format):
    pixels = decode(encode(RGB, format), name="x")
    np.testing.assert_array_equal(pixels, RGB)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_formats(format):
    smooth = np.full((20, 30, 3), (200, 100, 50), dtype=np.uint8)
    assert np.abs(decode(encode(smooth, format, quality=95), name="x").astype(int) - smooth).max() <= 4


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a)),
        (99, lambda a: a),
    ],
)
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_exif_orientation_is_applied_once(orientation, turn, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(encode(RGB, format, exif=exif), name="x"), turn(RGB))


def test_rotated_jpeg_with_target():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.new("RGB", (640, 320)), "JPEG", exif=exif)
    assert decode(data, name="x").shape == (640, 320, 3)
    assert decode(data, name="x", target=160 * 80).shape == (160, 80, 3)


def test_damaged_exif_counts_as_upright():
    data = encode(np.full((8, 16, 3), 9, np.uint8), "JPEG", exif=b"Exif\0\0MM\0\x2a\0\0\xff\xff garbage")
    assert decode(data, name="x").shape == (8, 16, 3)


def test_grey_and_bilevel():
    np.testing.assert_array_equal(decode(encode(RGB[..., 0]), name="x"), RGB[..., :1].repeat(3, -1))
    bits = np.array([[True, False], [False, True]])
    np.testing.assert_array_equal(decode(encode(bits), name="x")[..., 0], bits * 255)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_keep_the_upper_8(channels):
    values = np.array([[[0], [255], [256]], [[32768], [65279], [65535]]])
    image = values.repeat(channels, -1)
    if channels in (2, 4):
        image[..., -1] = 65535
    np.testing.assert_array_equal(decode(wide(image), name="x"), (values >> 8).repeat(3, -1))


def test_16_bit_tiff_of_either_byte_order():
    values = np.array([[0, 256], [32768, 65535]], dtype=np.uint16)
    for order in ("<u2", ">u2"):
        data = encode(Image.fromarray(values.astype(order)), "TIFF")
        np.testing.assert_array_equal(decode(data, name="x")[..., 1], values >> 8)


@pytest.mark.parametrize("values", [np.full((3, 3), 0.5, np.float32), np.full((3, 3), -7, np.int32), np.full((3, 3), 1 << 20)])
def test_values_without_a_range_are_refused(values):
    with pytest.raises(BadSample, match=r"x: .* values without a known range; convert it to 8 or 16 bits"):
        decode(
            encode(Image.fromarray(values.astype(np.float32 if values.dtype.kind == "f" else np.int32)), "TIFF"),
            name="x",
        )


def test_cmyk():
    ink = np.zeros((8, 8, 4), dtype=np.uint8)
    ink[..., 1] = ink[..., 2] = 255  # magenta and yellow: red
    image = Image.frombytes("CMYK", (8, 8), ink.tobytes())
    for format in ("JPEG", "TIFF"):
        assert np.abs(decode(encode(image, format), name="x").astype(int) - (255, 0, 0)).max() <= 3


def test_transparency_is_laid_on_white():
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]], [[0, 0, 0, 51], [0, 0, 0, 128]]], dtype=np.uint8)
    wanted = np.array([[[10, 20, 30], [255, 255, 255]], [[204, 204, 204], [127, 127, 127]]])
    np.testing.assert_array_equal(decode(encode(pixels), name="x"), wanted)
    for key in ({"transparency": (10, 20, 30)}, {}):
        keyed = decode(encode(np.ascontiguousarray(pixels[..., :3]), **key), name="x")
        assert keyed[0, 0].tolist() == ([255, 255, 255] if key else [10, 20, 30])


@pytest.mark.parametrize("transparency", [None, 1, bytes([255, 0, 255])])
def test_palette(transparency):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([9, 8, 7, 60, 50, 40, 200, 210, 220])
    options = {} if transparency is None else {"transparency": transparency}
    second = [60, 50, 40] if transparency is None else [255, 255, 255]
    wanted = [[[9, 8, 7], second], [[200, 210, 220], second]]
    assert decode(encode(image, **options), name="x").tolist() == wanted


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(format):
    frames = [Image.new("RGB", (16, 12), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    lossless = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **lossless)
    np.testing.assert_array_equal(decode(data, name="x"), np.full((12, 16, 3), (255, 0, 0)))


def test_two_photographs_in_one_jpeg():
    frames = [Image.new("RGB", (16, 12), colour) for colour in ("#ff0000", "#0000ff")]
    assert np.abs(decode(encode(frames[0], "MPO", save_all=True, append_images=frames[1:]), name="x") - (254, 0, 0)).max() <= 2


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.9])
def test_truncated(format, keep):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    data = encode(noise, format)
    with pytest.raises(BadSample, match=r"^photo.x: .*; (supported|fetch)"):
        decode(data[: int(len(data) * keep)], name="photo.x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"a.jpg: the file is empty \(0 bytes\); fetch it again"),
        (b"\0" * 5000, "a.jpg: not an image of a known format, or its beginning is damaged; supported are JPEG, PNG"),
        (b"\n <!DOCTYPE html><title>404</title>", "a.jpg: not an image but an HTML page"),
        (b'<?xml version="1.0"?><svg width="9"/>', "a.jpg: not an image but an SVG drawing"),
        (b"%PDF-1.7 ...", "a.jpg: not an image but a PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a.jpg: not an image of a known format"),
    ],
)
def test_other_files_are_named(data, message):
    with pytest.raises(BadSample, match=message):
        decode(data, name="a.jpg")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((1, 1), "x: 1 x 1 pixels; both sides must be at least 2"),
        ((1, 9), "x: 1 x 9 pixels; both sides must be at least 2"),
        ((60_000, 30), "x: 60000 x 30 pixels; one side is more than 20 times the other: cut it"),
        ((30, 60_000), "x: 30 x 60000 pixels; one side is more than 20 times the other"),
    ],
)
def test_sizes_that_carry_nothing(size, message):
    with pytest.raises(BadSample, match=message):
        decode(encode(Image.new("L", size)), name="x")


def test_aspect_and_pixel_limits_are_inclusive():
    assert decode(encode(Image.new("L", (40, 2))), name="x", max_pixels=80).shape == (2, 40, 3)
    with pytest.raises(BadSample, match="x: 40 x 2 pixels; more than the limit of 79 pixels: scale it down"):
        decode(encode(Image.new("L", (40, 2))), name="x", max_pixels=79)


@pytest.mark.parametrize(("width", "height"), [(60_000, 40_000), (60_000, 3_000), (12_000, 12_000)])
def test_bombs_cost_no_memory_and_no_warning(width, height):
    tracemalloc.start()
    with pytest.raises(BadSample, match=r"^x: .*scale it down"):
        decode(png(width, height, 8, 2, b"\0" * 100), name="x")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_target_reduces_jpegs_but_never_below_it():
    data = encode(Image.new("RGB", (1600, 1200)), "JPEG")
    sizes = {target: decode(data, name="x", target=target).shape[:2] for target in (4_000_000, 900_000, 480_000, 40_000, 100)}
    assert sizes == {
        4_000_000: (1200, 1600),
        900_000: (1200, 1600),
        480_000: (600, 800),
        40_000: (300, 400),
        100: (150, 200),
    }
    assert decode(encode(Image.new("RGB", (160, 120))), name="x", target=10).shape == (120, 160, 3)


def test_reduced_decoding_looks_like_the_original():
    x = np.linspace(0, 255, 400)
    ramp = np.stack([np.tile(x, (400, 1)), np.tile(x[:, None], (1, 400)), np.full((400, 400), 90)], -1).astype(np.uint8)
    small = decode(encode(ramp, "JPEG", quality=95), name="x", target=100 * 100).astype(int)
    assert small.shape == (100, 100, 3)
    assert np.abs(small - ramp.reshape(100, 4, 100, 4, 3).mean((1, 3))).mean() < 1.5


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM"])
def test_random_damage_gives_pixels_or_a_bad_sample(format, capfd):
    rng = np.random.default_rng(7)
    data = encode(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8), format)
    outcomes = set()
    for _ in range(60):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 5):
            damaged[position] = rng.integers(256)
        try:
            outcomes.add(decode(bytes(damaged), name="x", max_pixels=1_000_000).ndim)
        except BadSample as error:
            outcomes.add(str(error)[:3])
    assert outcomes <= {3, "x: "}
    assert capfd.readouterr().err == ""


# --- PNG files with much beside their pixels ---------------------------------------------------------------------------


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG, kind and content."""
    found, start = [], 8
    while start < len(data):
        (length,) = struct.unpack_from(">I", data, start)
        found.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + length]))
        start += 12 + length
    return found


def assembled(*parts: tuple[bytes, bytes], spoilt: bytes = b"") -> bytes:
    """A PNG of chunks; the checksum of those of the kind ``spoilt`` is wrong."""
    checksums = [zlib.crc32(kind + content) ^ (kind == spoilt) for kind, content in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
        for (kind, content), checksum in zip(parts, checksums, strict=True)
    )


def entry(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()[6:]


def xmp(text: bytes, *, packed: bool) -> tuple[bytes, bytes]:
    return b"iTXt", b"XML:com.adobe.xmp\0" + bytes([packed, 0]) + b"\0\0" + (zlib.compress(text) if packed else text)


LARGE = b" " * 1_200_000
RAW_EXIF = b"Raw profile type exif\0" + b"\nexif\n      99\n" + entry(6).hex().encode()


@pytest.mark.parametrize(
    "extra",
    [
        (b"iCCP", b"profile\0\0" + zlib.compress(LARGE)),
        (b"zTXt", b"workflow\0\0" + zlib.compress(LARGE)),
        (b"zTXt", b"workflow\0\7" + zlib.compress(LARGE)),
        (b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(LARGE)),
        (b"iTXt", b"prompt\0\0\0\0\0" + LARGE),
        (b"tEXt", b"prompt\0" + LARGE),
        (b"iCCP", b"torn"),
        (b"pHYs", b"torn"),
        (b"acTL", b"torn"),
        (b"tIME", b""),
    ],
    ids=lambda extra: extra[0].decode(),
)
@pytest.mark.parametrize("behind", [False, True])
def test_metadata_of_a_png_is_no_reason_to_refuse_it(extra, behind, monkeypatch):
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_MEMORY", 2**20)  # instead of 64 times as much, which takes seconds to write
    first, *rest, last = chunks(encode(RGB))
    data = assembled(first, *rest, extra, last) if behind else assembled(first, extra, *rest, last)
    np.testing.assert_array_equal(decode(data, name="x"), RGB)
    assert header_size(data) == (4, 6)
    many = assembled(first, *[extra] * 3, *rest, last, spoilt=extra[0])
    np.testing.assert_array_equal(decode(many, name="x"), RGB)
    assert header_size(many) == (4, 6)


@pytest.mark.parametrize(
    "extra",
    [
        (b"eXIf", entry(6)),
        (b"zTXt", RAW_EXIF.replace(b"\0", b"\0\0", 1)[:23] + zlib.compress(RAW_EXIF[22:])),
        (b"tEXt", RAW_EXIF),
        xmp(b'<rdf tiff:Orientation="6"/>', packed=False),
        xmp(b'<rdf tiff:Orientation="6"/>' + LARGE, packed=True),
        xmp(LARGE + b"<tiff:Orientation>6<", packed=True),
        xmp(LARGE + b"<tiff:Orientation>6<", packed=False),
    ],
)
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_is_turned_wherever_it_says_so(extra, behind, monkeypatch):
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_MEMORY", 2**20)
    first, *rest, last = chunks(encode(RGB))
    beside = [(b"iCCP", b"profile\0\0" + zlib.compress(LARGE))]
    data = assembled(first, *beside, *rest, extra, last) if behind else assembled(first, *beside, extra, *rest, last)
    np.testing.assert_array_equal(decode(data, name="x"), np.rot90(RGB, -1))
    assert header_size(data) == (6, 4)
    spoilt = assembled(first, extra, *rest, last, spoilt=extra[0])
    np.testing.assert_array_equal(decode(spoilt, name="x"), RGB)


@pytest.mark.parametrize(
    ("marker", "content"),
    [
        (0xE2, b"ICC_PROFILE\0"),
        (0xEE, b"Adobe\0"),
        (0xE0, b"JFIF\0"),
        (0xE2, b"MPF\0torn"),
        (0xED, b"Photoshop 3.0\0008BIM\3\xed\0"),
    ],
)
def test_a_torn_segment_of_a_jpeg_is_no_reason_to_refuse_it(marker, content):
    def segment(marker: int, content: bytes) -> bytes:
        return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content

    whole = encode(np.full((40, 60, 3), (200, 90, 40), np.uint8), "JPEG", exif=b"Exif\0\0" + entry(6))
    torn = whole[:2] + segment(0xFE, b"x" * 60_000) + segment(marker, content) + whole[2:]
    np.testing.assert_array_equal(decode(torn, name="x"), decode(whole, name="x"))
    assert header(torn) == Header(40, 60, 6)
    with pytest.raises(BadSample, match=r"^x: .*fetch it again"):
        decode(torn[:-200], name="x")


def test_what_a_png_needs_is_still_looked_at():
    parts = chunks(encode(Image.fromarray(RGB[..., 0]).convert("P")))
    for kind in (b"IHDR", b"PLTE"):
        with pytest.raises(BadSample, match=r"^x: .*damaged"):
            decode(assembled(*parts, spoilt=kind), name="x")
    keyed = encode(RGB, transparency=tuple(RGB[0, 0].tolist()))
    assert decode(keyed, name="x")[0, 0].tolist() == [255, 255, 255]
    spoilt = decode(assembled(*chunks(keyed), spoilt=b"tRNS"), name="x")
    np.testing.assert_array_equal(spoilt, RGB)


def test_the_size_of_a_png_costs_no_decoding_and_waits_for_its_orientation(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)
    first, *rest, last = chunks(encode(noise))
    data = assembled(first, *rest, (b"eXIf", entry(8)), last)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert header_size(data[:9_000]) is None
    assert header_size(data) == (70, 90)
    assert header(data) == Header(90, 70, 8)
    assert header(assembled(first, *rest)) is None
    assert header(assembled(first, *rest), whole=True) == Header(90, 70)
    assert header_size(assembled(first, (b"eXIf", entry(8)), *rest)[:9_000]) == (70, 90)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "MPO", *(["AVIF"] if features.check("avif") else [])])
@pytest.mark.parametrize("orientation", range(10))
def test_headers_tell_the_size_of_what_is_decoded(format, orientation):
    """Of TIFF and AVIF, Pillow turns the size, the pixels or the entry itself."""
    data = encode(np.full((40, 60, 3), 90, np.uint8), format, exif=b"Exif\0\0" + entry(orientation))
    assert header_size(data) == decode(data, name="x").shape[:2] == ((60, 40) if orientation in range(5, 9) else (40, 60))
    assert header(data) == Header(40, 60, orientation if orientation in range(1, 9) else 1)


@pytest.mark.parametrize("content", [b"", b"\0"])
@pytest.mark.parametrize("behind", [False, True])
def test_a_transparent_colour_that_is_too_short_is_none(content, behind):
    first, *rest, last = chunks(encode(RGB))
    odd = (b"tRNS", content)
    data = assembled(first, *rest, odd, last) if behind else assembled(first, odd, *rest, last)
    assert np.array_equal(decode(data, name="x"), RGB)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", r"a pointer of Git LFS \(git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photograph"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML page"),
    ],
)
def test_files_that_are_known_to_be_no_images_are_told_by_name(data, said):
    with pytest.raises(BadSample, match=f"^x: not an image but {said}"):
        decode(data, name="x")


def scans(count: int) -> bytes:
    """A progressive JPEG of 8 x 8 pixels whose last scan comes again and again."""
    data = encode(np.full((8, 8, 3), 90, np.uint8), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def directory(tags: list[tuple[int, int, int, int]], data: bytes = b"") -> bytes:
    """A TIFF of tags, types, counts and values; ``data`` begins at byte 8."""
    entries = b"".join(struct.pack("<HHLL", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<L", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


GREY = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
TILE = [(322, 4, 1, 40_000), (323, 4, 1, 40_000), (324, 4, 1, 8), (325, 4, 1, 8)]
STRIPS = [(273, 4, 300_000, 8), (279, 4, 300_000, 8)]
STUFFED = encode(RGB, "JPEG")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (scans(300), "its scans are more than 256, the limit for 64 pixels; save it as a baseline JPEG"),
        (STUFFED[:2] + b"\xff\xe5\0\2" * 5000 + STUFFED[2:], "more than 4,096 segments before its pixels; save it without"),
        (STUFFED[:2] + b"\xff" * 70_000 + STUFFED[2:], "more than 65,536 bytes between its segments before its pixels"),
        (assembled(*chunks(encode(RGB))[:1], *[(b"ab1d", b"")] * 70_000), "more than 65,536 chunks; save it anew"),
        (directory(GREY + TILE), r"decoding it would take 1,525 MiB, more than the limit of 992; scale it down"),
        (directory(GREY + STRIPS), "600,006 numbers in its tags, more than the limit of 400,000; save it in larger strips"),
        (directory([(tag, 3, 1, 1) for tag in range(5000)]), "5,000 tags, more than the limit of 4,096"),
        (b"P6\n#" + b"x" * 70_000 + b"\n2 2 255\n" + bytes(12), "no header within its first 65,536 bytes"),
        (b"P2 2 2 255\n" + b"#\n" * 2000 + b"0 0 0 0", "more than 1,000 comments"),
        (b"P2 2000 1000 255\n" + b"0 " * 100, "2,000,000 pixels in 217 bytes of a slow encoding"),
        (b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe" + b"\1x" * 5000 + b"\0,", "more than 4,096 blocks of comments"),
        (png(9_000, 9_000, 16, 6, b""), "648,000,000 bytes of pixels, more than the limit of 400,000,000"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_files_that_announce_too_much_work_are_refused_by_the_limit(data, said):
    begin = time.process_time()
    with pytest.raises(BadSample, match=f"x: {said}"):
        decode(data, name="x")
    header_size(data)
    assert time.process_time() - begin < 1


def test_scans_segments_and_chunks_of_sound_files_are_read():
    assert decode(scans(200), name="x").shape == (8, 8, 3)
    large = [b"ICC_PROFILE\0" + bytes([part, 40]) + bytes(65_000) for part in range(1, 41)]
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(RGB, "JPEG", exif=exif)
    segments = b"".join(b"\xff\xe2" + struct.pack(">H", len(part) + 2) + part for part in large)
    preview = b"\xff\xe5" + struct.pack(">H", 2 + 2 * 1000) + b"\xff\xda" * 1000
    for data in (
        turned[:2] + segments + turned[2:],
        turned[:2] + preview + turned[2:],
        turned[:2] + b"\xff\xfe\0\3x" * 900 + turned[2:],
    ):
        np.testing.assert_array_equal(decode(data, name="x"), decode(turned, name="x"))
        assert header_size(data) == (6, 4)
    first, pixels, last = chunks(encode(RGB))
    pieces = [(b"IDAT", pixels[1][at : at + 1]) for at in range(len(pixels[1]))]
    np.testing.assert_array_equal(decode(assembled(first, *pieces, last), name="x"), RGB)


@pytest.mark.parametrize(("most", "mode"), [(100, "P6"), (1023, "P6"), (200, "P5"), (4095, "P5")])
def test_values_up_to_any_number_are_scaled(most, mode):
    values = np.arange(24).reshape(2, 4, 3) * most // 23
    stored = values if mode == "P6" else values[..., :1]
    data = f"{mode} 4 2 {most}\n".encode() + stored.astype(np.uint8 if most < 256 else ">u2").tobytes()
    wanted = np.rint(stored / most * 255) if mode == "P6" or most < 256 else np.rint(stored / most * 65535).astype(int) >> 8
    np.testing.assert_array_equal(decode(data, name="x"), np.broadcast_to(wanted, values.shape))


def test_a_large_picture_takes_no_copy_of_itself():
    side = 2000
    data = png(side, side, 8, 6, bytes(4 * side + 1) * side)
    tracemalloc.start()
    decode(data, name="x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * side * side + 2**22
