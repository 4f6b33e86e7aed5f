"""Did-you-mean for names and paths that people type."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the choice closest to ``name``, ignoring case; an empty string if none is close."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = get_close_matches(name.lower(), by_lower, n=1)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""


def missing(path: Path) -> str:
    """What is missing of a path: its first part that does not exist, and the nearest name beside that."""
    path = path.expanduser().absolute()
    parent = next(folder for folder in path.parents if folder.exists())
    part = parent / path.relative_to(parent).parts[0]
    beside = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    return f"{str(part)!r} does not exist{did_you_mean(part.name, beside)}"
