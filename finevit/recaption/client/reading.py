"""What a chat completion says: its text, why it ended, its tokens."""

import re
from typing import Any, NamedTuple

from finevit.recaption.client.keys import MASK

_THOUGHT = re.compile(r"^\s*<think>.*?(?:</think>|\Z)", re.DOTALL)


class Said(NamedTuple):
    """``status`` is why there is no text, "" where there is one."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    status: str = ""
    detail: str = ""


def said(data: dict[str, Any]) -> Said:
    """Of the first choice of a completion."""
    choice = data["choices"][0]
    message, reason = choice["message"], choice.get("finish_reason")
    content, usage = _text(message.get("content")), data.get("usage")
    text = _THOUGHT.sub("", content).strip()
    status, detail = _fault(message, reason, text, thought=bool(content.strip()))
    counts = [_count(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    return Said(text, reason if isinstance(reason, str) else "", counts[0], counts[1], status, detail)


def _fault(message: dict[str, Any], reason: Any, text: str, *, thought: bool) -> tuple[str, str]:
    if reason == "content_filter":
        return "content_filter", "the server's filter ended the answer"
    if MASK in text:
        return "unusable", "the answer repeats the API key"
    if text:
        return "", ""
    if thought or any(_text(message.get(name)).strip() for name in ("reasoning_content", "reasoning")):
        return "reasoning_only", "the reasoning used up max_tokens" if reason == "length" else "reasoning, and no content"
    if _text(message.get("refusal")).strip():
        return "refused", "the server gave a refusal in place of content"
    return "empty", "no content"


def _text(content: Any) -> str:
    """A text, or the texts of a list of parts."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
