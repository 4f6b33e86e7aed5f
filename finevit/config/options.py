"""Options as people type them, ``KEY=VALUE``: read as OpenMMLab reads them, but texts keep their spaces and paths everything."""

import os
from collections.abc import Callable
from typing import Any

from mmengine.config import DictAction

INPUTS = frozenset({"load_from", "data_root", "val_data_root", "checkpoint"})
PATHS = INPUTS | {"work_dir"}
"""Settings that hold a path wherever they stand, also where no signature says so; ``INPUTS`` must be there."""
QUOTES, OPENING, CLOSING = "'\"", "([{", ")]}"


class ConfigError(ValueError):
    """What is wrong with a config, one line for each mistake."""


class Given(dict[str, Any]):
    """Options by name, read by :func:`value_of`; ``typed`` holds them as they were typed, for settings that take text."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.typed = dict(texts)
        super().__init__((name, _value_or_path(name, text)) for name, text in texts.items())


def _value_or_path(name: str, text: str) -> Any:
    try:
        return value_of(text)
    except ValueError:
        if name.rpartition(".")[2] not in PATHS and os.sep not in text:
            raise
        return text  # whether the setting takes text is known once the config is


def text_of(text: str) -> str | None:
    """A text as it was typed, without quotes around it; ``None`` is Python's, ``'None'`` is not."""
    return None if text == "None" else _unquoted(text)


def value_of(text: str, single: Callable[[str], Any] = DictAction._parse_int_float_bool) -> Any:
    """A number, a truth value, None or a text (``single``), or a list or tuple of them: ``1,2``, ``[a b,c]``, ``[(0,1),(2,3)]``.

    Raises ``ValueError`` for a dict, and for brackets that do not close.
    """
    parts = _split(text := text.strip())
    if len(parts) > 1:
        return [_part(part, single) for part in parts]
    if (bare := _unquoted(text)) != text:
        return value_of(bare, single)
    if text.startswith("dict(") or (text.startswith("{") and text.endswith("}")):
        raise ValueError(f"{text!r} is a dict")
    if not (text.startswith(("(", "[")) and text.endswith((")", "]"))):
        return single(text)
    values = [_part(part, single) for part in _split(text[1:-1])] if text[1:-1].strip() else []
    return tuple(values) if text.startswith("(") else values


def _part(text: str, single: Callable[[str], Any]) -> Any:
    """One of several; quotes around it keep its commas."""
    bare = _unquoted(text.strip())
    return single(bare) if bare != text.strip() else value_of(text, single)


def _split(text: str) -> list[str]:
    """The parts between commas outside of brackets and quotes; a last comma ends the last part."""
    parts, depth, quote, before = [""], 0, "", ","
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in QUOTES and before in f"{OPENING}," and char in text[place + 1 :]:
            quote = char
        else:
            depth += (char in OPENING) - (char in CLOSING)
        if depth < 0:
            break
        if char == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += char
        before = char.strip() or before
    if depth:
        raise ValueError(f"the brackets of {text!r} do not close")
    return parts[:-1] if len(parts) > 1 and not parts[-1].strip() else parts


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in QUOTES else text
