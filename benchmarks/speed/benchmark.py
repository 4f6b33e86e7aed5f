"""What a speed benchmark states of itself. A new one is a module in this folder with a registered subclass."""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar

from mmengine.registry import Registry

from benchmarks.speed.output import Column, Result

SPEED_BENCHMARKS = Registry(
    "speed benchmark",
    scope="finevit",
    locations=[f"benchmarks.speed.{module.name}" for module in iter_modules([str(Path(__file__).parent)])],
)
"""By the names that ``finevit bench`` takes."""


TINY = "finevit_tiny_stage1"
"""The config that is trained unless another is asked for."""


class SpeedBenchmark(ABC):
    """Measures candidates side by side; its name in the registry is the command's, and that of its JSON and plot."""

    compares: ClassVar[str]
    """What beside what, for the usage."""
    unit: ClassVar[str]
    """Of the plot's bars."""
    columns: ClassVar[Sequence[Column]]
    """Of the printed table."""
    quick: ClassVar[Mapping[str, Any]]
    """The arguments that ``--quick`` replaces: tiny sizes, one round."""

    @staticmethod
    @abstractmethod
    def add_options(command: argparse.ArgumentParser) -> None:
        """Options of its own, beside ``--rounds``, ``--device``, ``--threads`` and ``--out``."""

    @staticmethod
    @abstractmethod
    def run(arguments: argparse.Namespace) -> Result:
        """Measures: rows, the plot's panels, and notes."""
