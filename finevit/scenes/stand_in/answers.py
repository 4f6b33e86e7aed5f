"""Answers of the stand-in: the task that was asked, done by who knows the image; JSON in the shape of the schema."""

import json
import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from finevit.boxes import Box
from finevit.scenes.stand_in import asked
from finevit.scenes.stand_in.album import Album
from finevit.scenes.stand_in.asked import Asked, Unclear
from finevit.scenes.stand_in.phrases import spans
from finevit.scenes.stand_in.witness import Manner, Witness

_MARKED = re.compile(r"<(caption|text)>\n?(.*?)\n?</\1>", re.DOTALL)
BEGIN, END = ("start", "char_start", "begin"), ("end", "char_end")
PHRASE, BOX = ("label", "phrase", "text", "name"), ("bbox_2d", "bbox", "box")
"""Names that items of an answer may have; the first that the schema asks for, else the first."""


class Answerer:
    """Answers are a function of the request and the ``seed``."""

    def __init__(self, album: Album, *, manner: Manner, seed: int = 0) -> None:
        self.album, self.manner, self.seed = album, manner, seed

    def __call__(self, request: Asked) -> str:
        """The text of the answer. Raises ``Unclear``."""
        random = Random(f"{self.seed} {request.key}")
        if request.task == asked.PHRASES:
            return _phrases(request)
        witness = self._witness(request)
        if request.task == asked.BOXES:
            return self._boxes(request, witness, random)
        if request.task == asked.LOCAL:
            return witness.region(request.model, self.manner, random, request.box or (0.0, 0.0, 1.0, 1.0))
        return witness.caption(request.model, self.manner, random, form=request.task)

    def _witness(self, request: Asked) -> Witness:
        for image in request.images:
            if (found := self.album.witness(image)) is not None:
                return found
        raise Unclear(
            "this stand-in does not know the image; start it with the scenes (--level, --split, ...) or the --truth of yours"
        )

    def _boxes(self, request: Asked, witness: Witness, random: Random) -> str:
        names = request.schema or {}
        phrase_name, box_name = _name(names, PHRASE), _name(names, BOX)
        found: list[dict[str, Any]] = []
        for phrase in wanted_phrases(request.texts[-1]):
            for box in witness.boxes(phrase, self.manner, random):
                found.append({box_name: norm1000(box), phrase_name: phrase})
        return shaped(found, names)


def norm1000(box: Box) -> list[int]:
    """As Qwen's models write boxes."""
    return [round(1000 * side) for side in box]


def _phrases(request: Asked) -> str:
    """Spans in the last text, or in what is marked as caption in it."""
    said = request.texts[-1] if request.texts else ""
    marked = _MARKED.search(said)
    caption = marked[2] if marked else said
    names = request.schema or {}
    keys = _name(names, PHRASE[1:]), _name(names, BEGIN), _name(names, END)
    found = [dict(zip(keys, (caption[begin:end], begin, end), strict=True)) for begin, end in spans(caption)]
    return shaped(found, names)


def wanted_phrases(said: str) -> list[str]:
    """The phrases of a request: a list in JSON, else a line each behind the first, else what stands behind a colon."""
    for found in re.finditer(r"\[.*\]", said, re.DOTALL):
        try:
            listed = json.loads(found[0])
        except ValueError:
            continue
        if isinstance(listed, list) and all(isinstance(phrase, str) for phrase in listed):
            return listed
    lines = [re.sub(r"^\s*(?:[-*]|\d+[.)])\s*", "", line).strip() for line in said.splitlines() if line.strip()]
    return lines[1:] if len(lines) > 1 else [said.rpartition(":")[2].strip()]


def _name(schema: Mapping[str, Any], names: Sequence[str]) -> str:
    told = json.dumps(schema)
    return next((name for name in names if f'"{name}"' in told), names[0])


def shaped(items: list[dict[str, Any]], schema: Mapping[str, Any]) -> str:
    """A list, or an object that holds it, as the schema says."""
    holders = schema.get("properties", {}) if schema.get("type") == "object" else {}
    name = next((name for name, inner in holders.items() if inner.get("type") == "array"), "")
    return json.dumps({name: items} if name else items, ensure_ascii=False)
