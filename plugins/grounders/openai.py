"""Boxes of phrases by a vision-language model behind an OpenAI-compatible endpoint, in a named style of boxes."""

import io
import json
from collections.abc import Mapping
from typing import Any

from PIL import Image
from pydantic import PositiveInt

from finevit.boxes import Box, check_style, parse, render
from finevit.recaption.client.engine import ChatEngine, image_part, json_list, text_part
from finevit.recaption.client.reading import Said
from finevit.recaption.client.schema import list_schema
from finevit.recaption.contracts import OK, Grounder, GroundRequest

PROMPT = (
    "Locate each of the phrases in the JSON list that follows in the image. For every instance that is visible, give an "
    "object with its bounding box as bbox_2d, such as {example}, and the phrase as label, copied exactly. Give no box for a "
    "phrase of which nothing is visible. Answer in JSON."
)
EXAMPLE: Box = (0.25, 0.125, 0.75, 0.5)


class OpenAIGrounder(ChatEngine, Grounder):
    """Asks ``model`` at ``base_url`` for the boxes of all phrases of an image at once, in the box ``style`` that it knows.

    Labels that no phrase has and boxes that cannot be read are dropped, and counted in the answer's detail. A language model
    gives no scores: each box has 1.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        revision: str = "",
        max_tokens: PositiveInt = 4096,
        max_pixels: PositiveInt = 1_048_576,
        style: str = "norm1000",
        generation: Mapping[str, Any] | None = None,
        client: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            base_url=base_url, model=model, revision=revision, max_tokens=max_tokens, generation=generation, client=client
        )
        self.written, self.style, self.max_pixels = check_style(style), style, max_pixels
        self.numbers = self.written.box[0] == "["  # a list of JSON, else a text

    def settings(self) -> Mapping[str, Any]:
        """See ``Engine``."""
        return {**super().settings(), "max_pixels": self.max_pixels, "style": self.style, "prompt": PROMPT}

    def form(self) -> dict[str, Any]:
        """See ``ChatEngine``."""
        numbers = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
        properties = {"bbox_2d": numbers if self.numbers else {"type": "string"}, "label": {"type": "string"}}
        item = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
        return list_schema("boxes", item)

    def content(self, request: GroundRequest) -> list[dict[str, Any]]:
        """See ``ChatEngine``."""
        example = render([EXAMPLE], self.style, (1024, 1024))
        phrases = json.dumps(list(request.phrases), ensure_ascii=False)
        prompt = PROMPT.format(example=example if self.numbers else json.dumps(example))
        return [image_part(request.picture, max_pixels=self.max_pixels), *text_part(prompt), *text_part(phrases)]

    def value(self, request: GroundRequest, said: Said) -> tuple[str, Any, str]:
        """See ``ChatEngine``."""
        status, listed, detail = json_list(said, "boxes")
        if status != OK:
            return status, None, detail
        return self._found(request, [item for item in listed if isinstance(item, dict)], len(listed))

    def _found(self, request: GroundRequest, items: list[dict[str, Any]], told: int) -> tuple[str, Any, str]:
        """Boxes of phrases that were asked for, and how many others there were."""
        index = {_plain(phrase): place for place, phrase in reversed(list(enumerate(request.phrases)))}
        index |= {phrase: place for place, phrase in enumerate(request.phrases)}
        size = (1, 1) if self.written.units else self._sent_size(request)
        found, invented = [], 0
        for item in items:
            label = item.get("label")
            place = index.get(label, index.get(_plain(label))) if isinstance(label, str) else None
            boxes = parse(self._text(item.get("bbox_2d")), self.style, size)
            invented += place is None
            if place is not None and len(boxes) == 1:
                found.append({"phrase": place, "box": list(boxes[0]), "score": 1.0})
        unread = told - len(found) - invented
        counts = ((invented, "labels that were not asked for"), (unread, "boxes that cannot be read"))
        return OK, found, ", ".join(f"{count} {what} dropped" for count, what in counts if count)

    def _text(self, box: Any) -> str:
        """A box as its style writes it, also where JSON holds its numbers."""
        if not isinstance(box, list):
            return box if isinstance(box, str) else ""
        start, between, end = self.written.box
        return start + between.join(str(int(each) if isinstance(each, float) and each.is_integer() else each) for each in box) + end

    def _sent_size(self, request: GroundRequest) -> tuple[int, int]:
        """Height and width of the image as it was sent, for styles that count its pixels."""
        with Image.open(io.BytesIO(request.picture.encoded(max_pixels=self.max_pixels)[0])) as image:
            return image.height, image.width


def _plain(phrase: str) -> str:
    return " ".join(phrase.casefold().split())
