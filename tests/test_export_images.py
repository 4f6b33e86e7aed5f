"""Exports prepare images as training does, without its libraries."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, features

from finevit.datasets.decoding.images import decode
from finevit.export.templates import pixels_finevit
from finevit.ops.patches import snapped_size


def test_images_are_resized_as_in_training() -> None:
    rng = np.random.default_rng(0)
    for height, width in [(300, 500), (31, 200), (20, 45), (224, 448), (97, 60), (1000, 56), (56, 84)]:
        image = cv2.blur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (3, 3))
        rows, cols = pixels_finevit.snapped_size(height, width, pixels=100 * 100)
        assert (rows, cols) == snapped_size(height, width, pixels=100 * 100)
        how = cv2.INTER_AREA if rows * cols < height * width else cv2.INTER_CUBIC
        wanted = torch.from_numpy(cv2.resize(image, (cols, rows), interpolation=how)).permute(2, 0, 1)
        found = pixels_finevit.resize(pixels_finevit.to_pixels(image), rows, cols)
        assert (found.int() - wanted.int()).abs().max() <= 1, (height, width)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright_and_opaque_as_in_training(orientation: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    image.save(tmp_path / "image.png", exif=image.getexif())
    wanted = torch.from_numpy(decode((tmp_path / "image.png").read_bytes(), name="image")).permute(2, 0, 1)
    found = pixels_finevit.to_pixels(Image.open(tmp_path / "image.png"))
    assert found.shape == wanted.shape
    assert (found.int() - wanted.int()).abs().max() <= 1
    with pytest.raises(ValueError, match="give RGB of 0 to 255 as uint8"):
        pixels_finevit.to_pixels(np.zeros((4, 4, 3), np.float32))


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("form", ["TIFF", "JPEG", "PNG", "WEBP", *(["AVIF"] if features.check("avif") else [])])
def test_a_format_that_pillow_turns_itself_is_turned_once(form: str, loaded: bool) -> None:
    pixels = np.zeros((40, 56, 3), np.uint8)
    pixels[:16, :24] = 255, 0, 0  # upright: a red corner at the top left
    for orientation, back in ((1, None), (3, "ROTATE_180"), (5, "TRANSPOSE"), (6, "ROTATE_90"), (8, "ROTATE_270")):
        exif, file, image = Image.Exif(), io.BytesIO(), Image.fromarray(pixels)
        exif[0x0112] = orientation
        image = image.transpose(Image.Transpose[back]) if back else image
        image.save(file, form, exif=exif, quality=95, **({"lossless": True} if form == "WEBP" else {}))
        opened = Image.open(file)
        if loaded:
            opened.load()
        found = pixels_finevit.to_pixels(opened)
        wanted = torch.from_numpy(decode(file.getvalue(), name="image")).permute(2, 0, 1)
        assert found.shape == (3, 40, 56), orientation
        assert (found.int() - wanted.int()).abs().max() <= 1, orientation
        assert (found[:, 2:14, 2:22].float().mean((1, 2)) - torch.tensor([255.0, 0, 0])).abs().max() < 8


def test_pixels_of_other_kinds_are_read_as_in_training_or_refused() -> None:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 65536, (6, 8), dtype=np.uint16)
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "PNG")
    found = pixels_finevit.to_pixels(Image.open(file))
    assert torch.equal(found, torch.from_numpy(decode(file.getvalue(), name="wide")).permute(2, 0, 1))
    assert found[0, 0, 0] == wide[0, 0] >> 8
    image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    assert torch.equal(pixels_finevit.to_pixels(image[:, ::-1]), pixels_finevit.to_pixels(image[:, ::-1].copy()))
    assert pixels_finevit.to_pixels(image[:3]).shape == (3, 8, 3), "channels first, where either axis could hold them"
    assert pixels_finevit.to_pixels(image[:3], "last").shape == (3, 3, 8)
    assert pixels_finevit.to_pixels(Image.fromarray(image).convert("LA").convert("La")).shape == (3, 6, 8)
    with pytest.raises(ValueError, match="mode 'F': values without a known range"):
        pixels_finevit.to_pixels(Image.fromarray(wide.astype(np.float32)))


def test_a_damaged_orientation_counts_as_upright(monkeypatch) -> None:
    image = Image.new("RGB", (8, 6), "red")

    def damaged() -> None:
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(image, "getexif", damaged)
    assert pixels_finevit.to_pixels(image).shape == (3, 6, 8)
