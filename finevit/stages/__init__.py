"""The training stages: plain MMEngine models that know several parts at once."""

from finevit.stages.contrastive import ContrastiveLearning
from finevit.stages.llm_alignment import LLMAlignment
from finevit.stages.masked_distillation import MaskedDistillation

__all__ = ["ContrastiveLearning", "LLMAlignment", "MaskedDistillation"]
