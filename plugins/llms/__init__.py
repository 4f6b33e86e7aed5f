"""The bundled alignment LLMs, by the name under which a config asks for them."""

from finevit.contracts import AlignmentLLM

from .hugging_face import HuggingFaceLLM
from .plain import PlainLLM

LLMS: dict[str, type[AlignmentLLM]] = {each.__name__: each for each in (HuggingFaceLLM, PlainLLM)}
