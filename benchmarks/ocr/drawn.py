"""Pages and scenes with known text: each line with its words, the tight box of its ink and the size of its font."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from finevit.datasets.decoding.images import decode
from finevit.scenes.source import Scenes
from finevit.scenes.text_rendering import FONTS, INKS, WORDS, Writing, font_folder, letter

SMALLEST = 12
"""Smallest font in pixels whose text counts."""
PAGES, PHOTOGRAPHS, SCENES = "pages", "photographs with labels", "embedded scenes"
Pixels = tuple[int, int, int, int]


class Written(NamedTuple):
    """A line of text: its ink is in ``box``, x2 and y2 exclusive, in pixels."""

    text: str
    box: Pixels
    size: int


class Drawn(NamedTuple):
    """An image with its lines, and of which kind it is."""

    pixels: np.ndarray
    lines: tuple[Written, ...]
    group: str


@cache
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_folder() / face), size)


class Page:
    """A sheet that is filled from top to bottom, in columns."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.lines = rng, list[Written]()
        self.width, self.height = int(rng.integers(560, 1000)), int(rng.integers(700, 1300))
        paper = [(255, 255, 255), (250, 248, 240), (244, 244, 244), (255, 252, 232)][rng.integers(4)]
        self.ink = [(0, 0, 0), (30, 30, 30), (20, 30, 80), (60, 20, 20)][rng.integers(4)]
        self.image = Image.new("RGB", (self.width, self.height), paper)
        self.draw = ImageDraw.Draw(self.image)
        self.body = str(rng.choice(list(FONTS.values())))

    def words(self, count: int) -> list[str]:
        """Words with now and then a number, a capital or a mark."""
        found = []
        for word in self.rng.choice(WORDS, count):
            kind = self.rng.random()
            found.append(str(word).title() if kind < 0.15 else str(self.rng.integers(2, 3000)) if kind < 0.22 else str(word))
            if self.rng.random() < 0.12:
                found[-1] += str(self.rng.choice([",", ".", ";", ":"]))
        return found

    def write(self, x: int, y: int, text: str, face: str, size: int) -> None:
        """A line whose ink begins near x, y."""
        font = _font(face, size)
        self.draw.text((x, y), text, self.ink, font)
        self.lines.append(Written(text, tuple(map(int, self.draw.textbbox((x, y), text, font))), size))

    def paragraph(self, x: int, y: int, width: int, bottom: int, size: int, indent: int = 0) -> int:
        """Lines of words as wide as the column; where the next one may begin."""
        font, step = _font(self.body, size), round(size * 1.4)
        row, words = list[str](), self.words(int(self.rng.integers(15, 60)))
        for word in [*words, ""]:
            if word and font.getlength(" ".join([*row, word])) <= width - indent:
                row.append(word)
            elif row and y + step <= bottom:
                self.write(x + indent, y, " ".join(row), self.body, size)
                y, row, indent = y + step, [word], 0
        return y

    def column(self, x: int, y: int, width: int, bottom: int, size: int) -> None:
        """Headings, paragraphs, lists and numbers, until the page ends."""
        while y < bottom - 3 * size:
            kind = self.rng.random()
            if kind < 0.25:
                large = min(size + int(self.rng.integers(2, 12)), width // 8)
                self.write(x, y, " ".join(self.words(2))[: width // large], FONTS["bold sans-serif"], large)
                y += round(1.6 * large)
            elif kind < 0.4:
                for word in self.words(3):
                    self.write(x + size, y, f"- {word}", self.body, size)
                    y += round(1.5 * size)
            else:
                y = self.paragraph(x, y, width, bottom, size, indent=int(self.rng.choice([0, 2 * size]))) + size


def page(seed: int) -> Drawn:
    """A document of one to three columns under a title, with a number at its foot; some end early."""
    rng = np.random.default_rng([0, seed])
    sheet = Page(rng)
    margin, size = int(rng.integers(30, 70)), int(rng.integers(SMALLEST, 19))
    title = int(rng.integers(24, 44))
    sheet.write(margin, margin, " ".join(sheet.words(3)), FONTS["bold serif"], min(title, (sheet.width - 2 * margin) // 13))
    columns = int(rng.integers(1, 4)) if size < 15 else 1 + int(rng.integers(2) and sheet.width > 750)
    gap, full = 3 * size, float(rng.choice([1, 1, rng.uniform(0.1, 1)]))
    bottom = margin + 2 * title + round(full * (sheet.height - 2 * margin - 2 * title - 2 * size))
    width = (sheet.width - 2 * margin - gap * (columns - 1)) // columns
    for number in range(columns):
        sheet.column(margin + number * (width + gap), margin + 2 * title, width, bottom, size)
    sheet.write(sheet.width // 2, sheet.height - margin, str(seed + 100), sheet.body, size)
    return Drawn(np.asarray(sheet.image), tuple(sheet.lines), PAGES)


@cache
def _photographs() -> tuple[np.ndarray, ...]:
    import skimage
    from sklearn.datasets import load_sample_image

    folder = Path(skimage.__file__).parent / "data"
    names = (
        "astronaut.png",
        "camera.png",
        "chelsea.png",
        "coffee.png",
        "coins.png",
        "rocket.jpg",
        "brick.png",
        "motorcycle_left.png",
    )
    files = (decode(folder.joinpath(name).read_bytes(), name=name) for name in names)
    return (*files, load_sample_image("china.jpg"), load_sample_image("flower.jpg"))


def labelled(seed: int) -> Drawn:
    """A photograph with labels: on plates, or with an outline; straight, or turned by a few degrees."""
    rng = np.random.default_rng([1, seed])
    photo = _photographs()[rng.integers(len(_photographs()))]
    scale = rng.uniform(512, 1000) / max(photo.shape[:2])
    canvas = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    taken, lines = np.zeros(canvas.shape[:2], bool), []
    for _ in range(int(rng.integers(1, 7))):
        text = " ".join(rng.choice(WORDS, int(rng.integers(1, 4))))
        text = [str.lower, str.title, str.upper][rng.integers(3)](text)
        size = int(rng.choice([12, 14, 16, 20, 24, 32, 40]))
        plate, ink = _label(rng, text, size)
        if made := _pasted(rng, canvas, taken, plate, ink):
            lines.append(Written(text, made, size))
    return Drawn(canvas, tuple(lines), PHOTOGRAPHS)


def _label(rng: np.random.Generator, text: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A turned label ``[h, w, 4]``, and where its ink is ``[h, w]``."""
    font = _font(str(rng.choice(list(FONTS.values()))), size)
    left, top, right, bottom = font.getbbox(text)
    pad, outline = max(3, size // 3), int(size >= 16 and rng.random() < 0.5) * max(1, size // 10)
    size_ = (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad)
    dark = rng.random() < 0.5
    fore, back = ((20, 20, 30), (245, 245, 235)) if dark else ((250, 250, 250), (40, 40, 60))
    image, mask = Image.new("RGBA", size_, (*back, 0 if outline else 255)), Image.new("L", size_)
    at = (pad - left, pad - top)
    ImageDraw.Draw(image).text(at, text, fore, font, stroke_width=outline, stroke_fill=back)
    ImageDraw.Draw(mask).text(at, text, 255, font)
    turn = float(rng.choice([0, 0, rng.uniform(-6, 6)]))
    turned = [each.rotate(turn, Image.Resampling.BICUBIC, expand=True) for each in (image, mask)]
    return np.asarray(turned[0]), np.asarray(turned[1]) > 64


def _pasted(rng: np.random.Generator, canvas: np.ndarray, taken: np.ndarray, plate: np.ndarray, ink: np.ndarray) -> Pixels | None:
    """The box of the ink, once the label lies somewhere free; None where it does not fit."""
    high, wide = ink.shape
    for _ in range(20):
        if high >= canvas.shape[0] or wide >= canvas.shape[1]:
            return None
        y, x = int(rng.integers(canvas.shape[0] - high)), int(rng.integers(canvas.shape[1] - wide))
        if taken[max(0, y - 8) : y + high + 8, max(0, x - 24) : x + wide + 24].any():
            continue
        taken[y : y + high, x : x + wide] = True
        part, alpha = canvas[y : y + high, x : x + wide], plate[..., 3:] / 255
        part[...] = np.rint(part * (1 - alpha) + plate[..., :3] * alpha)
        left, top, width, height = cv2.boundingRect(ink.view(np.uint8))
        return x + left, y + top, x + left + width, y + top + height
    return None


def embedded(seed: int, level: str) -> Drawn:
    """A scene of the embedded data; of its lines, those whose font is large enough."""
    record = _scenes(level)[seed]
    pixels = np.asarray(record.image)
    high, wide = pixels.shape[:2]
    lines = []
    for region in record.regions:
        if region.kind == "text_line":
            box = tuple(round(side * scale) for side, scale in zip(region.box, (wide, high, wide, high), strict=True))
            if size := _size(region.text, region.caption, box[3] - box[1]):
                lines.append(Written(region.text, box, size))
    return Drawn(pixels, tuple(lines), SCENES)


_LEVELS = ("hard", "medium")


@cache
def _scenes(level: str) -> Scenes:
    return Scenes(level=level, split="test", length=10_000, seed=27)


def _size(text: str, caption: str, height: int) -> int:
    """The size of the font by the height of the ink; 0 where it is too small."""
    face = next(name for name in sorted(FONTS, key=len, reverse=True) if f"{name} letters" in caption)
    found = 0
    for size in range(SMALLEST, 200, 2):
        _, (_, top, _, bottom) = letter(Writing(text, face, next(iter(INKS)), size))
        if bottom - top > height:
            break
        found = size
    return found


def drawn(count: int, *, first: int = 0) -> Iterator[Drawn]:
    """Pages, photographs with labels and embedded scenes: half of them pages."""
    for seed in range(first, first + count):
        yield page(seed) if seed % 2 == 0 else labelled(seed) if seed % 4 == 1 else embedded(seed, _LEVELS[seed % 8 == 3])
