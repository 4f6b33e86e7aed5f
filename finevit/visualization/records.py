"""A page of records for people to look at: images with their boxes, and what is said of them."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from finevit.contracts import BadSample, Record, Region, Source
from finevit.datasets.decoding.images import decode
from finevit.scenes.text_rendering import font_folder
from finevit.visualization.gallery import jpeg
from finevit.visualization.report import Page, Section, fragment

CELL = 440
"""Width of a record on the page, and the largest height of its picture, in pixels."""
_PAD, _LINE = 12, 15
_INKS = ("#d62828", "#1d4ed8", "#15803d", "#b45309", "#7e22ce", "#0e7490", "#be185d", "#4d7c0f")
_TEXT_INK = "#111111"
_LONG = 1200  # characters of a caption that are shown
_MANY = 16
"""With more regions than this, only the larger ones are labelled."""


def draw_records(records: Sequence[Record], *, columns: int = 4) -> Image.Image:
    """One page, ``columns`` records wide: boxes with phrases, written lines with their strings, captions below."""
    cells = [_draw_cell(record) for record in records]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    page = Image.new("RGB", (columns * CELL, sum(heights)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            page.paste(cell, (column * CELL, top))
        top += height
    return page


def page(records: Sequence[Record], *, about: str) -> Page:
    """The same as a page of HTML, whose captions can be read by a screen reader."""
    pictures = [jpeg(np.asarray(_draw_cell(record))) for record in records]
    told = [" ".join((record.id, *record.captions.values())) for record in records]
    html = fragment("records.html", cells=list(zip(pictures, told, strict=True)), width=CELL)
    return Page(title="Records", subtitle=about, sections=[Section("What is read", html)])


def take(source: Source, *, first: int, count: int) -> tuple[list[Record], list[str]]:
    """``count`` records from ``first`` on, their images decoded, and the messages of those that could not be used."""
    records, bad = [], []
    for index in range(first, min(first + count, len(source))):
        try:
            record = source[index]
            image = decode(record.image, name=record.id) if isinstance(record.image, bytes) else record.image
            records.append(replace(record, image=image))
        except BadSample as error:
            bad.append(str(error))
    return records, bad


def _draw_cell(record: Record) -> Image.Image:
    picture = _draw_picture(record)
    lines = _write(record)
    cell = Image.new("RGB", (CELL, picture.height + _LINE * len(lines) + 3 * _PAD), "white")
    cell.paste(picture, (_PAD, _PAD))
    draw = ImageDraw.Draw(cell)
    for number, (text, style) in enumerate(lines):
        draw.text((_PAD, picture.height + 2 * _PAD + number * _LINE), text, _TEXT_INK, _font(11, style))
    return cell


def _draw_picture(record: Record) -> Image.Image:
    pixels = record.image if isinstance(record.image, np.ndarray) else decode(record.image, name=record.id)
    image = Image.fromarray(pixels)
    room = CELL - 2 * _PAD
    scale = min(room / image.width, room / image.height)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    draw = ImageDraw.Draw(image)
    smallest = 0 if len(record.regions) <= _MANY else 40
    for number, region in enumerate(record.regions):
        ink = _INKS[number % len(_INKS)]
        x1, y1, x2, y2 = (value * image.size[axis % 2] for axis, value in enumerate(region.box))
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=ink, width=2 if region.kind == "object" else 1)
        if max(x2 - x1, y2 - y1) >= smallest:
            _draw_label(draw, region, (x1, y1), image.width, ink)
    return image


def _draw_label(draw: ImageDraw.ImageDraw, region: Region, corner: tuple[float, float], width: int, ink: str) -> None:
    label = f"“{region.text}”" if region.text else region.phrase
    font = _font(10, "plain")
    left, top, right, bottom = font.getbbox(label)
    x, y = min(corner[0], width - right + left - 3), max(0, corner[1] - bottom + top - 3)
    draw.rectangle((x, y, x + right - left + 2, y + bottom - top + 2), fill=ink)
    draw.text((x + 1 - left, y + 1 - top), label, "white", font)


def _write(record: Record) -> list[tuple[str, str]]:
    """Lines of text below a picture, each with its style."""
    height, width = record.image.shape[:2] if isinstance(record.image, np.ndarray) else (None, None)
    size = f"   {width} x {height}" if height else ""
    unplaced = f", {len(record.unplaced)} more with an impossible box" if record.unplaced else ""
    lines = [(f"{record.id}{size}   {len(record.regions)} regions{unplaced}", "bold")]
    for name, caption in record.captions.items():
        words = f"{name} ({len(caption.split())} words): {textwrap.shorten(caption, _LONG, placeholder=' ...')}"
        lines += [(line, "plain") for line in textwrap.wrap(words, 66)]
    return lines


@cache
def _font(size: int, style: str) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if style == "bold" else "DejaVuSans.ttf"
    return ImageFont.truetype(str(font_folder() / name), size)
