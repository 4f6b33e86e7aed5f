"""Captions by a vision-language model behind an OpenAI-compatible endpoint (paper, FineCap: a Qwen3-VL-32B)."""

from collections.abc import Mapping
from typing import Any

from pydantic import PositiveInt

from finevit.recaption.client.engine import ChatEngine, image_part, text_part
from finevit.recaption.client.reading import Said
from finevit.recaption.contracts import OK, Captioner, CaptionRequest
from finevit.recaption.wording import fault


class OpenAICaptioner(ChatEngine, Captioner):
    """Asks ``model`` at ``base_url``. Images go as they are stored, or as JPEG of at most ``max_pixels``.

    A region's message holds the whole image, the prompt, the part, and what is said of the part, so that a server with a prefix
    cache reads the image once.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        revision: str = "",
        max_tokens: PositiveInt = 1024,
        max_pixels: PositiveInt = 1_048_576,
        generation: Mapping[str, Any] | None = None,
        client: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            base_url=base_url, model=model, revision=revision, max_tokens=max_tokens, generation=generation, client=client
        )
        self.max_pixels = max_pixels

    def settings(self) -> Mapping[str, Any]:
        """See ``Engine``."""
        return {**super().settings(), "max_pixels": self.max_pixels}

    def content(self, request: CaptionRequest) -> list[dict[str, Any]]:
        """See ``ChatEngine``."""
        whole, *parts = [image_part(picture, max_pixels=self.max_pixels) for picture in request.pictures]
        return [whole, *text_part(request.prompt), *parts, *text_part(request.suffix)]

    def value(self, request: CaptionRequest, said: Said) -> tuple[str, Any, str]:
        """See ``ChatEngine``."""
        status, detail = fault(said.text, finish_reason=said.finish_reason, language=self.generation.language)
        return (status, None, detail) if status else (OK, said.text, "")
