"""API keys: read from the environment whenever one is sent, kept nowhere, and taken out of whatever a server says."""

import os
from collections.abc import Sequence

from finevit.recaption.contracts import Unavailable

MASK = "[API key]"
PLACEHOLDERS = ("", "empty", "none", "dummy", "token")
"""What people set where a server wants no key. Such words are no secret, and may stand in answers."""


def api_key(variable: str) -> str:
    """The key, or "" where there is none; ``Unavailable`` for one that no header can hold."""
    key = os.environ.get(variable, "").strip() if variable else ""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Unavailable(
            f"the environment variable {variable} holds no API key: there are blanks or odd characters in it; set it anew"
        )
    return key


def masked(text: str, key: str) -> str:
    """The text without the key."""
    return text if key.lower() in PLACEHOLDERS else text.replace(key, MASK)


def without(text: str, key: str, texts: Sequence[str]) -> str:
    """A server's message without the key or parts of it, and without what it repeats of a request's texts."""
    said = masked(text, key)
    said = said if key.lower() in PLACEHOLDERS else _blanked(said, key, 8)
    for each in texts:
        said = _blanked(said, each, 24)
    return said


def _blanked(text: str, secret: str, length: int) -> str:
    """The text with dots for all that it shares with another in pieces of ``length`` characters or more."""
    pieces = {secret[start : start + length] for start in range(len(secret) - length + 1)}
    found = [start for start in range(len(text) - length + 1) if text[start : start + length] in pieces]
    hidden = {place for start in found for place in range(start, start + length)}
    return "".join(("…" if place - 1 not in hidden else "") if place in hidden else each for place, each in enumerate(text))
