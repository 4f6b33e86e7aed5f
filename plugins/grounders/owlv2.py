"""OWLv2: each phrase is a text of its own, and its score does not depend on the others."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt

from finevit.signatures import Fraction

from ..teachers.base import Dtype
from .base import HuggingFaceGrounder
from .spans import found


class OWLv2Grounder(HuggingFaceGrounder):
    """OWLv2 by hub name or folder.

    Args:
        model: hub name or folder.
        revision: of a hub model.
        template: what is said of a phrase, which stands in place of ``{}``.
        phrases: so many go through the model at a time; answers do not depend on it.
        threshold: boxes of less confidence are left out. OWLv2's confidence is low: set the pass's ``min_score`` to 0.1 too.
        dtype: of weights and arithmetic.
        device: ``cpu``, ``cuda:0``, ...; None: a GPU where there is one.
    """

    architecture = "Owlv2ForObjectDetection"

    def __init__(
        self,
        *,
        model: str = "google/owlv2-base-patch16-ensemble",
        revision: str | None = None,
        template: str = "a photo of {}",
        phrases: PositiveInt = 32,
        threshold: Fraction = 0.1,
        dtype: Dtype = "float32",
        device: str | None = None,
    ) -> None:
        super().__init__(model=model, revision=revision, dtype=dtype, device=device)
        if "{}" not in template:
            raise ValueError(f"template={template!r} has no {{}} where the phrase stands")
        self.template, self.phrases, self.threshold = template, phrases, threshold

    def settings(self) -> Mapping[str, Any]:
        """The protocol."""
        return {**self.protocol(), "template": self.template, "threshold": self.threshold}

    @property
    def longest(self) -> int:
        """All of the template and its marks count."""
        return int(self.detector.config.text_config.max_position_embeddings)

    def find(self, pixels: np.ndarray, phrases: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
        """See ``HuggingFaceGrounder``."""
        tokens = [self.processor.tokenizer(self.template.replace("{}", phrase), verbose=False)["input_ids"] for phrase in phrases]
        fits = [number for number, each in enumerate(tokens) if phrases[number].strip() and len(each) <= self.longest]
        odd = [phrase for number, phrase in enumerate(phrases) if number not in fits]
        if not fits:
            return [], odd
        images, parts = self.images(pixels), list[torch.Tensor]()
        for start in range(0, len(fits), self.phrases):
            seen = self.detector(**images, **self._padded([tokens[number] for number in fits[start : start + self.phrases]]))
            parts.append(seen.logits[0].float().sigmoid())
        scores, places = torch.cat(parts, dim=1), seen.pred_boxes[0].float() * _square(pixels, self.device)
        return found(scores, scores.argmax(dim=1), places, fits, self.threshold), odd

    def _padded(self, tokens: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        pad, longest = self.processor.tokenizer.pad_token_id, self.longest
        ids = torch.tensor([[*each, *[pad] * (longest - len(each))] for each in tokens])
        kept = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in tokens])
        return {"input_ids": ids.to(self.device), "attention_mask": kept.to(self.device)}


def _square(pixels: np.ndarray, device: str) -> torch.Tensor:
    """From shares of the square that the image is padded to, at its right and bottom, to shares of the image."""
    high, wide = pixels.shape[:2]
    side = max(high, wide)
    return torch.tensor([side / wide, side / high, side / wide, side / high], device=device)
