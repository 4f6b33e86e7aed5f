"""Heads: from the towers' vectors to losses."""

from finevit.heads.contrastive import SigmoidHead, SoftmaxHead
from finevit.heads.distillation import DistillationHead

__all__ = ["DistillationHead", "SigmoidHead", "SoftmaxHead"]
