"""Where images and their descriptions come from, and how they become training samples."""

from finevit.datasets.readers import ImageFolder, open_source

__all__ = ["ImageFolder", "open_source"]
