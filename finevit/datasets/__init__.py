"""Where images and their descriptions come from, and how they become training samples."""

from finevit.datasets.dataset import NativeImages
from finevit.datasets.readers import ImageFolder, JsonLines, TarShards, open_source

__all__ = ["ImageFolder", "JsonLines", "NativeImages", "TarShards", "open_source"]
