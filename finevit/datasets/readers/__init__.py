"""Readers for people's own data: a folder of images, JSON lines, tars. ``OpenData`` looks at a path and picks one."""

from .folder import ImageFolder
from .jsonlines import JsonLines
from .open import open_source
from .tars import TarShards

__all__ = ["ImageFolder", "JsonLines", "TarShards", "open_source"]
