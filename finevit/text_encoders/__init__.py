"""Text encoders: an own small transformer, and any Hugging Face text tower."""

from finevit.text_encoders.hugging_face import HuggingFaceText
from finevit.text_encoders.transformer import TextTransformer

__all__ = ["HuggingFaceText", "TextTransformer"]
