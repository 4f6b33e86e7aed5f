"""Loss heads."""

from finevit.heads.distillation import DistillationHead

__all__ = ["DistillationHead"]
