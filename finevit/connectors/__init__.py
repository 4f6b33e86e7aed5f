"""Connectors: from the encoder's tokens to what a language model reads."""

from finevit.connectors.merge import MergeConnector

__all__ = ["MergeConnector"]
