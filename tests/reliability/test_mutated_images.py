"""Sound images of every format with bytes changed, cut or repeated: pixels or a bad sample, and nothing else, within 2 s."""

import random
import time

import numpy as np
from bombs import progressive, saved
from PIL import Image

from finevit.contracts import BadSample
from finevit.datasets.decoding.images import decode, header_size


def samples() -> list[bytes]:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 4), dtype=np.uint8))
    formats = ("PNG", "TIFF", "WEBP", "GIF", "AVIF")
    found = [saved(picture, name) for name in formats]
    found += [saved(picture.convert("RGB"), name) for name in ("JPEG", "BMP", "PPM")]
    found += [saved(picture.convert("RGB"), "TIFF", compression=kind) for kind in ("tiff_lzw", "jpeg", "tiff_deflate", "packbits")]
    found += [saved(picture.convert("I;16"), "PNG"), saved(picture.convert("P"), "PNG", transparency=3)]
    return [*found, saved(picture.convert("RGB"), "JPEG", progressive=True), progressive(64, 20), b"P3 4 4 99\n" + b"7 " * 48]


def mutated(data: bytes, chance: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        at = chance.randrange(min(len(found), chance.choice((64, 400, len(found)))))
        kind = chance.randrange(5)
        if kind == 0:
            found[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            found[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1\0\0"))
        elif kind == 2:
            del found[at : at + chance.randrange(1, 40)]
        elif kind == 3:
            found[at:at] = found[at : at + chance.randrange(1, 200)] * chance.randrange(1, 20)
        else:
            found[at] = chance.randrange(256)
        if not found:
            break
    return bytes(found)


def test_mutated_images(trial, capfd):
    chance, originals, read, refused, worst = random.Random(0), samples(), 0, 0, 0.0
    for number in range(trial.count(5000)):
        data = mutated(originals[number % len(originals)], chance)
        begin = time.process_time()
        header_size(data)
        try:
            pixels = decode(data, name="x", target=chance.choice((None, 1000)))
            assert pixels.ndim == 3
            assert pixels.dtype == np.uint8
            read += 1
        except BadSample:
            refused += 1
        worst = max(worst, time.process_time() - begin)
        assert worst <= 2, data[:200]
    trial.record(images=read + refused, read=read, refused=refused, most_seconds=round(worst, 2))
    assert read > 0
    assert refused > 0
