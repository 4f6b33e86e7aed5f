"""Heads: from the towers' vectors to losses."""

from finevit.heads.contrastive import SigmoidHead, SoftmaxHead
from finevit.heads.distillation import DistillationHead
from finevit.heads.language import LanguageHead

__all__ = ["DistillationHead", "LanguageHead", "SigmoidHead", "SoftmaxHead"]
