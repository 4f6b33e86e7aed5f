"""Connectors: from the encoder's tokens to what a language model reads."""

from finevit.connectors.patch_merge import MergeConnector

__all__ = ["MergeConnector"]
