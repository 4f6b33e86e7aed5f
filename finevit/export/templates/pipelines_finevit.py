"""Transformers' pipelines for FineViT: ``pipeline("image-feature-extraction", model=FOLDER, trust_remote_code=True)``.

Images of a batch may have any sizes: they travel as patches, without padding. Transparent ones are laid on white, as in training.
"""

from typing import Any

from transformers import ImageClassificationPipeline, ImageFeatureExtractionPipeline
from transformers.image_utils import load_image
from transformers.modeling_outputs import BaseModelOutputWithPooling


class FineViTFeatures(ImageFeatureExtractionPipeline):
    """``[1, patches, dim]`` of each image, or with ``pool=True`` ``[1, dim]``."""

    def preprocess(  # type: ignore[override]
        self, image: Any, timeout: float | None = None, **image_processor_kwargs: Any
    ) -> Any:
        return _packed(self, image, timeout, image_processor_kwargs)

    def _forward(self, model_inputs: Any) -> BaseModelOutputWithPooling:  # type: ignore[override]
        output = self.model(**model_inputs)
        parts = output.last_hidden_state.split(model_inputs["grids"].prod(1).tolist())
        tokens: Any = parts[0][None] if len(parts) == 1 else list(parts)
        return BaseModelOutputWithPooling(tokens, output.pooler_output)


class FineViTClasses(ImageClassificationPipeline):
    """The classes of each image with their scores."""

    def preprocess(self, image: Any, timeout: float | None = None) -> Any:  # type: ignore[override]
        return _packed(self, image, timeout, {})


def _packed(pipeline: Any, image: Any, timeout: float | None, options: dict[str, Any]) -> Any:
    """The patches of one image and its grid: those of several lie one after the other."""
    address = isinstance(image, str) and image.startswith(("http://", "https://"))
    image = load_image(image, timeout=timeout) if address else image
    return pipeline.image_processor(image, packed=True, return_tensors="pt", **options).to(pipeline.dtype)
