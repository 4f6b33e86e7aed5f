"""Measures how fast FineViT is beside other libraries, in a checkout: ``finevit bench encoder``. Benchmarks are not installed."""

import sys
from importlib import import_module
from pathlib import Path

from finevit.engine.cli import user_errors


def main() -> None:
    """Hands on to the checkout's ``benchmarks/speed/command.py``."""
    checkout = Path(__file__).parents[2]
    with user_errors():
        if not (checkout / "benchmarks/speed").is_dir():
            told = f"bench: benchmarks are part of FineViT's repository and not installed with it ({checkout} has none)"
            raise ValueError(f"{told}; clone the repository, and there run `make bench`")
    sys.path.insert(0, str(checkout))
    import_module("benchmarks.speed.command").main()
