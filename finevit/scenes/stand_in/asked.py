"""What a chat completion asks of the stand-in: its images, its texts, and which of its tasks they mean."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from finevit.boxes import Box

GLOBAL, SHORT, SUBJECT, LOCAL, PHRASES, BOXES = "caption", "short caption", "subject", "region", "phrases", "boxes"
_SHORT = re.compile(r"\b(?:one|a single|a short|one short|a brief) (?:sentence|caption)\b|\bbriefly\b", re.IGNORECASE)
_SUBJECT = re.compile(r"\bmain (?:subject|object)\b", re.IGNORECASE)
_BOX = re.compile(
    r"\[\s*(\d{1,4})\s*,\s*(\d{1,4})\s*,\s*(\d{1,4})\s*,\s*(\d{1,4})\s*\]|\(\s*(\d{1,4}),\s*(\d{1,4})\),\s*\((\d{1,4}),\s*(\d{1,4})\s*\)"
)


class Unclear(ValueError):
    """A request that the stand-in cannot take; the message says why."""


@dataclass(frozen=True)
class Asked:
    """``task`` is one of those above; ``box`` is that of a region; ``schema`` is the JSON schema that the answer is to follow;
    ``key`` stands for all that was sent."""

    model: str
    task: str
    images: tuple[bytes, ...]
    texts: tuple[str, ...]
    box: Box | None
    schema: Mapping[str, Any] | None
    max_tokens: int
    key: str


def read(body: bytes) -> Asked:
    """Raises ``Unclear``."""
    try:
        content = json.loads(body)
        parts = list(_parts(content["messages"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unclear(f"the body is no chat completion ({error}); send JSON with model and messages") from None
    images = tuple(_image(part["image_url"]) for part in parts if part.get("type") == "image_url")
    texts = tuple(str(part["text"]) for part in parts if part.get("type") == "text")
    schema = _schema(content.get("response_format"))
    box = _box(texts)
    limit = content.get("max_tokens") or content.get("max_completion_tokens") or 4096
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return Asked(str(content.get("model", "")), _task(texts, images, schema, box), images, texts, box, schema, int(limit), key)


def _parts(messages: Any) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        content = message["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _image(image: Any) -> bytes:
    url = image["url"] if isinstance(image, dict) else str(image)
    kind, comma, data = url.partition(";base64,")
    if not comma or not kind.startswith("data:"):
        raise Unclear("an image is no data URL; send data:image/png;base64,...")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise Unclear(f"an image is not base64 ({error}); encode the whole file anew") from None


def _schema(response_format: Any) -> Mapping[str, Any] | None:
    """The schema of ``response_format``; an empty one where any JSON will do."""
    if not isinstance(response_format, dict) or response_format.get("type") == "text":
        return None
    named = response_format.get("json_schema")
    return named.get("schema", {}) if isinstance(named, dict) else {}


def _box(texts: tuple[str, ...]) -> Box | None:
    """The last box that the texts hold, of numbers from 0 to 1,000."""
    found = [match for text in texts for match in _BOX.finditer(text)]
    if not found:
        return None
    x1, y1, x2, y2 = (int(number) / 1000 for number in found[-1].groups() if number is not None)
    return x1, y1, x2, y2


def _task(texts: tuple[str, ...], images: tuple[bytes, ...], schema: Mapping[str, Any] | None, box: Box | None) -> str:
    """Boxes where the answer is to hold some, phrases where there is no image; else a caption of what is sent."""
    said = " ".join(texts)
    if not images:
        return PHRASES
    if "bbox" in json.dumps(schema or {}) or (schema is not None and "box" in said.lower()) or "bbox_2d" in said:
        return BOXES
    if box is not None or len(images) > 1:
        return LOCAL
    if _SUBJECT.search(said):
        return SUBJECT
    return SHORT if _SHORT.search(said) else GLOBAL
