"""Readers for people's own data (``OpenData`` looks at a path and picks one) and for evaluation sets."""

from .clip_benchmark import ClipBenchmarkTars
from .coco import CocoCaptions, Karpathy
from .folder import ImageFolder
from .imagenet import ImageNetFolder
from .jsonlines import JsonLines
from .long_captions import DCI, ShareGPT4V1k, Urban1k
from .open import open_source
from .tars import TarShards

__all__ = [
    "DCI",
    "ClipBenchmarkTars",
    "CocoCaptions",
    "ImageFolder",
    "ImageNetFolder",
    "JsonLines",
    "Karpathy",
    "ShareGPT4V1k",
    "TarShards",
    "Urban1k",
    "open_source",
]
