"""The truth of images that are no scenes, out of a file of JSON lines: an image's SHA-256, and what is to be said of it."""

import json
from pathlib import Path
from typing import Any

from finevit.boxes import Box
from finevit.scenes.stand_in.witness import ToldWitness
from finevit.storage.regular import read_regular

EXAMPLE = '{"sha256": "...", "captions": {"a": "A dog."}, "objects": [{"phrase": "dog", "box": [0.1, 0.2, 0.5, 0.9]}], "lines": []}'
_BYTES = 2**31


def read_truth(path: Path) -> dict[str, ToldWitness]:
    """By the SHA-256 of the images' bytes. ``ValueError`` names the line that cannot be read."""
    try:
        lines = read_regular(path, max_bytes=_BYTES).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--truth {path}: cannot be read ({error}); give a file of JSON lines, such as {EXAMPLE}") from None
    told: dict[str, ToldWitness] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                digest, witness = _read(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                problem = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
                raise ValueError(f"--truth {path}, line {number}: {problem}; a line is like {EXAMPLE}") from None
            told[digest] = witness
    return told


def _read(entry: dict[str, Any]) -> tuple[str, ToldWitness]:
    digest = entry["sha256"].lower()
    if len(digest) != 64:
        raise ValueError(f"sha256 has {len(digest)} digits and not 64")
    captions = entry.get("captions", {})
    if not isinstance(captions, dict):
        raise ValueError("captions are no object of names and texts")
    objects = [{"phrase": str(one["phrase"]), "box": _box(one["box"])} for one in entry.get("objects", ())]
    lines = [{"text": str(one["text"]), "box": _box(one["box"])} for one in entry.get("lines", ())]
    return digest, ToldWitness(captions={name: str(text) for name, text in captions.items()}, objects=objects, lines=lines)


def _box(sides: Any) -> Box:
    x1, y1, x2, y2 = map(float, sides)
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise ValueError(f"box {list(sides)} is not x1 < x2, y1 < y2 within 0 to 1")
    return x1, y1, x2, y2
