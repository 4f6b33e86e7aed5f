"""The embedded data: drawn scenes that know everything about themselves, made on the fly, deterministic by seed."""

from finevit.scenes.levels import LEVELS, Level, find_level
from finevit.scenes.source import Scenes

__all__ = ["LEVELS", "Level", "Scenes", "find_level"]
