"""Encoders."""

from finevit.backbones.finevit import ARCHITECTURES, FineViT

__all__ = ["ARCHITECTURES", "FineViT"]
