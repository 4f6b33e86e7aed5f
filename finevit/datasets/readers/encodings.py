"""Texts as people's programs write them, from bytes to strings: read exactly or refused, never guessed."""

import codecs
import re

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks and their codecs: UTF-32's first, since the mark of UTF-16 begins it."""
_CONTROL = re.compile("[\0-\b\x0e-\x1f]")
_SPOILT = 1 / 8
"""A text of which more is control characters is none; below, they are stray, and ``text.cleaned`` removes them."""
REMEDY = "save it as UTF-8, for instance by iconv -f LATIN1 -t UTF-8 (or -f GBK, whatever it was written in)"


def decode_text(data: bytes) -> str:
    """UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one, UTF-16 of Latin letters without.

    Raises ``ValueError`` for anything else, such as Latin-1 or GBK: it says what was found and what to do.
    """
    try:
        text = data.decode(encoding_of(data))
    except UnicodeDecodeError as error:
        found = f"byte 0x{data[error.start]:02x} at {error.start:,}" if error.start < len(data) else "its end"
        raise ValueError(f"not {error.encoding.upper()} ({found}: {error.reason}); {REMEDY}") from None
    if len(_CONTROL.findall(text.rstrip("\0"))) > _SPOILT * len(text):
        raise ValueError(f"no text, or UTF-16 without a byte order mark (many control characters); {REMEDY}")
    return text


def decode_caption(data: bytes, name: str) -> tuple[str, str]:
    """The text of a caption's file, and why there is none where it cannot be read; ``name`` is what people call the file."""
    try:
        return decode_text(data), ""
    except ValueError as error:
        return "", f"{name} is {error}"


def encoding_of(data: bytes) -> str:
    """The codec of a text, or of its beginning: by its byte order mark, or where every other byte is zero."""
    marked = next((codec for mark, codec in _MARKS.items() if data.startswith(mark)), "")
    return marked or _order(data) or "utf-8"


def _order(data: bytes) -> str:
    """``utf-16-le`` or ``utf-16-be`` where at least half of all units are of Latin letters in that order, and none in the other."""
    even, odd, units = data[0::2].count(0), data[1::2].count(0), len(data) // 2
    if len(data) % 2 or not units or 2 * max(even, odd) < units or min(even, odd):
        return ""
    return "utf-16-le" if odd else "utf-16-be"


def text_lines(text: str) -> list[str]:
    """The lines of a text file: they end at line feeds and carriage returns alone, not at U+2028 or a form feed."""
    lines = re.split("\r\n|\n|\r", text)
    return lines if lines[-1] else lines[:-1]
