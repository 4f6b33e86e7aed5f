"""Exports prepare images as training does, without its libraries."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from finevit.datasets.images import decode
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
