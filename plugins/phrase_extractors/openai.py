"""Noun phrases by a language model behind an OpenAI-compatible endpoint, with their characters, by structured output."""

from collections.abc import Mapping
from typing import Any

from pydantic import PositiveInt

from finevit.recaption.client.engine import ChatEngine, json_list, text_part
from finevit.recaption.client.reading import Said
from finevit.recaption.client.schema import list_schema
from finevit.recaption.contracts import OK, PhraseExtractor, PhraseRequest
from finevit.recaption.spans import spans_of

PROMPT = (
    "List every noun phrase in the text that follows that names something visible: a thing, an animal, a person, a part of "
    "one, or written text. Copy each phrase exactly as it stands, with its article and adjectives, and give the characters "
    "where it starts and ends (counted from 0, the end exclusive). Leave out pronouns and words about the picture itself, "
    "such as 'the image'. Answer in JSON."
)
ITEM: dict[str, Any] = {
    "type": "object",
    "properties": {"phrase": {"type": "string"}, "start": {"type": "integer"}, "end": {"type": "integer"}},
    "required": ["phrase", "start", "end"],
    "additionalProperties": False,
}


class OpenAIPhraseExtractor(ChatEngine, PhraseExtractor):
    """Asks ``model`` at ``base_url`` for phrases with their spans. A wrong span is moved where the phrase has one other place, else
    dropped; both are counted in the answer's detail. ``generation.body=dict(response_format=None)`` asks without a schema."""

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        revision: str = "",
        max_tokens: PositiveInt = 4096,
        generation: Mapping[str, Any] | None = None,
        client: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            base_url=base_url, model=model, revision=revision, max_tokens=max_tokens, generation=generation, client=client
        )

    def settings(self) -> Mapping[str, Any]:
        """See ``Engine``."""
        return {**super().settings(), "prompt": PROMPT}

    def form(self) -> dict[str, Any]:
        """See ``ChatEngine``."""
        return list_schema("phrases", ITEM)

    def content(self, request: PhraseRequest) -> list[dict[str, Any]]:
        """See ``ChatEngine``."""
        return [*text_part(PROMPT), *text_part(request.text)]

    def value(self, request: PhraseRequest, said: Said) -> tuple[str, Any, str]:
        """See ``ChatEngine``."""
        status, listed, detail = json_list(said, "phrases")
        if status != OK:
            return status, None, detail
        found = spans_of(request.text, listed)
        return OK, [list(span) for span in found.spans], found.detail
