"""Readers for people's own data."""

from .folder import ImageFolder
from .open import open_source

__all__ = ["ImageFolder", "open_source"]
