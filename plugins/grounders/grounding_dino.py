"""Grounding DINO (paper, FineCap step 3): phrases in fixed chunks, each scored by its own tokens."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from pydantic import PositiveInt

from finevit.signatures import Fraction

from ..teachers.base import Dtype
from .base import HuggingFaceGrounder
from .spans import NEARLY, STRONGEST, Marks, best_phrases, chunked, found, span_scores

_DELIMITERS = str.maketrans(".?", "  ")
"""What ends a phrase in the model's text, and so cannot stand in one."""
_ARTICLES = (["a"], ["an"], ["the"])


class GroundingDINOGrounder(HuggingFaceGrounder):
    """Grounding DINO by hub name or folder.

    The model reads at most 256 tokens and leaves out the rest without a word; and what it finds depends a little on how many there
    are. So phrases go in chunks, padded to one length, and both are part of the protocol.

    Args:
        model: hub name or folder.
        revision: of a hub model.
        phrases: most phrases in a chunk.
        tokens: length of a chunk in tokens, padding included.
        threshold: boxes of less confidence are left out: the mean probability of the phrase's own tokens, of
            the four strongest where there are more.
        dtype: of weights and arithmetic.
        device: ``cpu``, ``cuda:0``, ...; None: a GPU where there is one.
    """

    architecture = "GroundingDinoForObjectDetection"

    def __init__(
        self,
        *,
        model: str = "IDEA-Research/grounding-dino-base",
        revision: str | None = None,
        phrases: PositiveInt = 8,
        tokens: Annotated[int, Ge(8)] = 128,
        threshold: Fraction = 0.25,
        dtype: Dtype = "float32",
        device: str | None = None,
    ) -> None:
        super().__init__(model=model, revision=revision, dtype=dtype, device=device)
        self.phrases, self.tokens, self.threshold = phrases, tokens, threshold

    def settings(self) -> Mapping[str, Any]:
        """The protocol."""
        own = {
            "phrases": self.phrases,
            "tokens": self.tokens,
            "threshold": self.threshold,
            "score": f"mean of the {STRONGEST} strongest own tokens without article",
            "nearly": NEARLY,
        }
        return {**self.protocol(), **own}

    @property
    def longest(self) -> int:
        """A chunk also has the marks of its beginning, of the phrase and of its end."""
        return self.tokens - 3

    def find(self, pixels: np.ndarray, phrases: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
        """See ``HuggingFaceGrounder``."""
        tokenizer, marks = self.processor.tokenizer, self._marks()
        tokens = [tokenizer(_plain(phrase), add_special_tokens=False, verbose=False)["input_ids"] for phrase in phrases]
        chunks, odd = chunked(tokens, marks, most=self.phrases, length=self.tokens)
        images, boxes = self.images(pixels), list[dict[str, Any]]()
        for chunk in chunks:
            text = torch.tensor([chunk.tokens], device=self.device)
            seen = self.detector(**images, input_ids=text, attention_mask=(text != marks.pad).long())
            scores = span_scores(seen.logits[0], chunk.spans)
            which = best_phrases(scores, chunk.spans)
            boxes += found(scores, which, seen.pred_boxes[0], chunk.phrases, self.threshold)
        return boxes, [phrases[number] for number in odd]

    def _marks(self) -> Marks:
        """The tokens around phrases; ``ValueError`` where the model would not take them for such, or not read so many."""
        tokenizer, most = self.processor.tokenizer, self.detector.config.max_text_len
        marks = Marks(tokenizer.cls_token_id, tokenizer.convert_tokens_to_ids("."), tokenizer.sep_token_id, tokenizer.pad_token_id)
        known = self.detector.model.special_tokens.tolist()
        if odd := sorted({marks.begin, marks.stop, marks.end} - set(known)):
            raise ValueError(f"model={self.name!r}: its tokenizer is not its own: token {odd[0]} ends no phrase, {known} do")
        if self.tokens > most:
            raise ValueError(f"tokens={self.tokens}: {self.name} reads {most}; set tokens to at most that")
        return marks


def _plain(phrase: str) -> str:
    """The phrase in lower case, without what ends one and without an article, whose token would weaken the mean."""
    words = phrase.lower().translate(_DELIMITERS).split()
    return " ".join(words[1:] if words[:1] in _ARTICLES and words[1:] else words)
