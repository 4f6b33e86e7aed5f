"""Readers for people's own data (``OpenData`` looks at a path and picks one) and for evaluation sets."""

from .clip_benchmark import ClipBenchmarkTars
from .coco import CocoCaptions, Karpathy
from .countbench import CountBench
from .docvqa import DocVQA
from .folder import ImageFolder
from .imagenet import ImageNetFolder
from .jsonlines import JsonLines
from .long_captions import DCI, ShareGPT4V1k, Urban1k
from .ocrbench import OCRBench
from .open import open_source
from .refcoco import RefCOCO
from .shards import ShardRecords
from .tars import TarShards

__all__ = [
    "DCI",
    "ClipBenchmarkTars",
    "CocoCaptions",
    "CountBench",
    "DocVQA",
    "ImageFolder",
    "ImageNetFolder",
    "JsonLines",
    "Karpathy",
    "OCRBench",
    "RefCOCO",
    "ShardRecords",
    "ShareGPT4V1k",
    "TarShards",
    "Urban1k",
    "open_source",
]
