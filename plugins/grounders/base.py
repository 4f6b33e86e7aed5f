"""What open-vocabulary detectors of Hugging Face share: how they are loaded and asked."""

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from finevit.contracts import BadSample
from finevit.hub.locate import find_model, first_line
from finevit.recaption.contracts import OK, Answer, Grounder, GroundRequest

from ..teachers.base import DTYPES, Dtype
from .spans import in_order

SHOWN = 3
"""So many phrases that were left out are named."""


class HuggingFaceGrounder(Grounder):
    """A detector by hub name or folder, loaded when it is first asked. Subclasses implement ``find`` and ``settings``."""

    architecture: ClassVar[str]
    """The class of transformers."""

    def __init__(self, *, model: str, revision: str | None, dtype: Dtype, device: str | None) -> None:
        self.name, self.revision, self.dtype = model, revision, DTYPES["float32" if dtype == "auto" else dtype]
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._place = find_model(model)
        self.model = f"{model}@{revision or ('main' if self._place == model else 'local')}"

    def answer(self, request: GroundRequest) -> Answer:
        """All boxes of all phrases. What could not be asked for is named in ``detail``."""
        started = time.perf_counter()
        try:
            pixels = request.picture.pixels()
        except BadSample as error:
            return Answer("unreadable", detail=str(error))
        with torch.inference_mode():
            boxes, odd = self.find(pixels, request.phrases)
        return Answer(OK, in_order(boxes), detail=self._left_out(odd), seconds=time.perf_counter() - started)

    @abstractmethod
    def find(self, pixels: np.ndarray, phrases: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
        """The boxes, and the phrases that the detector cannot be asked for."""

    @property
    @abstractmethod
    def longest(self) -> int:
        """Most tokens of a phrase."""

    def _left_out(self, phrases: Sequence[str]) -> str:
        named = ", ".join(repr(phrase if len(phrase) <= 80 else phrase[:79] + "…") for phrase in phrases[:SHOWN])
        more = f" and {len(phrases) - SHOWN} more" if len(phrases) > SHOWN else ""
        return (
            f"{len(phrases)} phrases have no tokens or more than {self.longest}, and were not asked for: {named}{more}"
            if phrases
            else ""
        )

    @cached_property
    def detector(self) -> Any:
        """The model, for inference; ``ValueError`` where it cannot be loaded, or lacks weights."""
        import transformers
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # of the few seconds that loading takes
        try:
            kind: Any = getattr(transformers, self.architecture)
            made, report = kind.from_pretrained(self._place, revision=self.revision, dtype=self.dtype, output_loading_info=True)
        except Exception as error:  # damaged files raise nearly anything
            remedy = "check the spelling, the connection and the access rights, or give the folder of a downloaded copy"
            raise ValueError(f"model={self.name!r}: could not be loaded ({first_line(error)}); {remedy}") from error
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"model={self.name!r}: the checkpoint lacks {len(missing)} weights, for example {missing[0]!r}")
        return made.eval().requires_grad_(False).to(self.device)

    @cached_property
    def processor(self) -> Any:
        """The processor of images and texts that lies beside the model."""
        from transformers import AutoProcessor

        try:
            return AutoProcessor.from_pretrained(self._place, revision=self.revision)
        except Exception as error:
            raise ValueError(f"model={self.name!r}: it has no processor of images and texts ({first_line(error)})") from error

    def images(self, pixels: np.ndarray) -> dict[str, Any]:
        """The image as the model wants it."""
        made = self.processor.image_processor(images=pixels, return_tensors="pt")
        return {name: value.to(self.device, self.dtype if value.is_floating_point() else None) for name, value in made.items()}

    def protocol(self) -> Mapping[str, Any]:
        """What decides an answer in all of them."""
        return {"dtype": str(self.dtype).removeprefix("torch."), "revision": self.revision}
