"""Pictures, quality and near-duplicates of recaptioning: pixels and bytes of pictures, measures and verdicts, groups of hashes."""

import io
import time
from pathlib import Path

import cv2
import imagehash
import numpy as np
import pytest
import skimage
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image

from finevit.contracts import BadSample
from finevit.datasets.decoding.images import decode
from finevit.recaption import quality
from finevit.recaption.contracts import Picture
from finevit.recaption.pictures import borders

RNG = np.random.default_rng(0)
NOISE = cv2.GaussianBlur(RNG.integers(0, 256, (60, 90, 3), np.uint8), (0, 0), 2)


def stored(pixels, form="PNG", **options):
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, form, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def photo(name):
    return decode(Path(skimage.__file__).parent.joinpath("data", name).read_bytes(), name=name)


def test_a_picture_is_the_upright_image_or_the_pixels_that_its_box_touches():
    data = stored(NOISE, exif=turned(6))
    upright = np.rot90(NOISE, -1)
    assert np.array_equal(Picture("a", lambda: data).pixels(), upright)
    part = Picture("a", lambda: data, (10.2 / 60, 20.9 / 90, 30.1 / 60, 40 / 90)).pixels()
    assert np.array_equal(part, upright[20:40, 10:31])


def test_borders_are_rounded_outwards_and_hold_a_pixel():
    exact = tuple(map(float, np.float32([100 / 641, 7 / 483, 200 / 641, 480 / 483])))
    assert borders(exact, 641, 483) == (100, 7, 200, 480)  # float32 does not add a pixel
    assert borders((0.5, 0.5, 0.5, 0.5), 10, 10) == (5, 5, 6, 6)
    assert borders((1.0, 1.0, 1.0, 1.0), 10, 4) == (9, 3, 10, 4)
    assert borders((0.0, 0.0, 1.0, 1.0), 1, 7) == (0, 0, 1, 7)
    assert borders((-0.2, 0.11, 1.3, 0.19), 10, 10) == (0, 1, 10, 2)


@pytest.mark.parametrize(("form", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")])
def test_stored_bytes_are_sent_untouched(form, mime):
    data = stored(NOISE, form)
    assert Picture("a", lambda: data).encoded(max_pixels=60 * 90) == (data, mime)
    grey = stored(NOISE[..., 0], "PNG")
    assert Picture("a", lambda: grey).encoded(max_pixels=60 * 90) == (grey, "image/png")


ALPHA = np.dstack([NOISE, np.full(NOISE.shape[:2], 9, np.uint8)])
FRAMES = {"save_all": True, "append_images": [Image.fromarray(255 - NOISE)], "duration": 9}
SIXTEEN = cv2.imencode(".png", NOISE.astype(np.uint16) << 8)[1].tobytes()
ANEW = {
    "turned": stored(NOISE, "JPEG", exif=turned(3), quality=95),
    "transparent": stored(ALPHA),
    "CMYK": stored(Image.fromarray(NOISE).convert("CMYK"), "JPEG", quality=95),
    "palette": stored(Image.fromarray(NOISE).convert("P", palette=Image.Palette.ADAPTIVE)),
    "16 bits": SIXTEEN,
    "animated": stored(NOISE, "WEBP", lossless=True, **FRAMES),
    "GIF": stored(NOISE, "GIF"),
    "BMP": stored(NOISE, "BMP"),
    "much besides pixels": stored(NOISE) + bytes(2**17),
}


@pytest.mark.parametrize("case", ANEW)
def test_what_servers_might_see_otherwise_is_encoded_anew(case):
    picture = Picture("a", lambda: ANEW[case])
    data, mime = picture.encoded(max_pixels=10**6)
    assert (mime, data) == ("image/jpeg", picture.encoded(max_pixels=10**6)[0])
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode, len(image.getexif())) == ("JPEG", "RGB", 0)
        assert np.abs(np.asarray(image, int) - picture.pixels()).mean() < 3


def test_parts_and_large_pictures_are_encoded_at_the_size_that_is_asked_for():
    data = stored(NOISE)
    sizes = {}
    for name, box, most in [("part", (0, 0, 0.5, 0.5), 10**6), ("large", None, 600), ("one", (0.5, 0.5, 0.5, 0.5), 4)]:
        with Image.open(io.BytesIO(Picture("a", lambda: data, box).encoded(max_pixels=most)[0])) as image:
            sizes[name] = image.size
    assert sizes == {"part": (45, 30), "large": (30, 20), "one": (1, 1)}


@pytest.mark.parametrize("data", [b"", b"no image", stored(NOISE, "JPEG")[:300], stored(NOISE[:1, :1])])
def test_what_cannot_be_decoded_is_a_bad_sample_that_names_it(data):
    for use in (lambda it: it.pixels(), lambda it: it.encoded(max_pixels=99)):
        with pytest.raises(BadSample, match=r"^sample7: "):
            use(Picture("sample7", lambda: data))


PHOTOS = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg", "coins.png", "motorcycle_left.png")


def photos():
    return [*map(photo, PHOTOS), load_sample_image("china.jpg"), load_sample_image("flower.jpg")]


def verdicts(change):
    free = quality.Limits(short_side=1, aspect=99)
    made = [change(pixels) for pixels in photos()]
    return [quality.reasons(quality.measure(each), each.shape[1], each.shape[0], free) for each in made]


def test_photographs_are_kept_and_what_was_spoilt_is_named():
    assert verdicts(lambda each: each) == [[]] * 9
    blurred = verdicts(lambda each: cv2.GaussianBlur(each, (0, 0), max(2, max(each.shape) / 256)))
    assert all("blurred" in found for found in blurred)
    assert all("under_exposed" in found for found in verdicts(lambda each: each // 10))
    over = ["over_exposed" in found for found in verdicts(lambda each: cv2.convertScaleAbs(each, alpha=0.5, beta=235))]
    assert sum(over) == 9
    vivid = verdicts(lambda each: np.where(each > np.median(each, axis=2, keepdims=True), 255, 0).astype(np.uint8))
    assert sum("over_saturated" in found for found in vivid) >= 6


def test_small_and_narrow_images_are_rejected_at_the_papers_limits():
    fine = quality.measure(photo("camera.png"))
    sizes = [(448, 1344), (447, 900), (1345, 448), (100, 400)]
    assert [quality.reasons(fine, *size) for size in sizes] == [[], ["small"], ["aspect"], ["small", "aspect"]]


def page(width, height, step=22):
    image = Image.new("RGB", (width, height), "white")
    for top in range(40, height - 40, step):
        ImageDraw.Draw(image).text((40, top), "Lorem ipsum dolor sit amet " * 4, fill="black")
    return np.asarray(image)


def test_pages_are_neither_blurred_nor_over_exposed_for_being_white():
    for each in (page(600, 800), page(1000, 1400), photo("page.png"), photo("text.png")):
        assert quality.looks_like_document(each)
        assert quality.reasons(quality.measure(each), 600, 800) == []
    assert not any(map(quality.looks_like_document, photos()))
    blank = quality.measure(np.full((600, 600, 3), 250, np.uint8))
    assert quality.reasons(blank, 600, 600) == ["blurred", "over_exposed"]
    assert quality.reasons(blank, 600, 600, document=True) == []


def test_measures_are_those_of_the_definition():
    board = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((4, 4))).astype(np.uint8)[..., None] * np.uint8([255, 0, 0])
    found = quality.measure(board)
    assert found[1:6] == pytest.approx((0.5 * 76 / 255, 0.5, 0.5, 0.0, 0.5))
    grey = np.pad(board[..., 0] // 255 * 76.0, 1, mode="reflect")
    plus = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    assert found.sharpness == pytest.approx((plus - 4 * grey[1:-1, 1:-1]).var())


def test_hashes_are_those_of_imagehash():
    assert [quality.phash(each) for each in photos()] == [str(imagehash.phash(Image.fromarray(each))) for each in photos()]


def groups_by_all_pairs(hashes, distance):
    near = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= distance
    for _ in hashes:
        near = near @ near
    return near.argmax(1)


@pytest.mark.parametrize("distance", [0, 3, 4, 8])
def test_groups_are_those_of_all_pairs(distance):
    rng = np.random.default_rng(distance)
    seeds = rng.integers(0, 2**63, 30, np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (150, 6), np.uint64)
    kept = rng.random((150, 6)) < 0.3
    hashes = seeds[rng.integers(0, 30, 150)] ^ np.bitwise_xor.reduce(np.where(kept, flips, np.uint64(0)), axis=1)
    found = quality.near_duplicates(hashes, distance)
    assert np.array_equal(found, groups_by_all_pairs(hashes, distance))
    assert len(set(found)) < 150
    order = rng.permutation(150)
    moved = quality.near_duplicates(hashes[order], distance)
    assert {frozenset(order[moved == each]) for each in set(moved)} == {frozenset(np.flatnonzero(found == i)) for i in set(found)}


def test_a_hundred_thousand_hashes_take_seconds():
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**63, 100_000, np.uint64)
    hashes[50_000:50_100] = hashes[:100] ^ np.uint64(0b1011)
    hashes[60_000:90_000] = hashes[7]
    started = time.process_time()
    found = quality.near_duplicates(hashes, 3)
    assert time.process_time() - started < 20
    assert np.array_equal(found[50_000:50_100], np.arange(100))
    assert (found[60_000:90_000] == 7).all()
    assert len(set(found)) == 100_000 - 100 - 30_000
    assert quality.near_duplicates(np.zeros(0, np.uint64), 3).shape == (0,)
