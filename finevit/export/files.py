"""What every target writes: weights, JSON, and the code that travels with them."""

import json
import os
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

TEMPLATES = Path(__file__).parent / "templates"
FORMAT = "1"
"""Version of the exported weights' names and metadata."""
SHARED = {"spelling": Path(__file__).parents[1] / "hub/spelling.py"}
"""Modules of this library that travel as they are, so that an export does what the training did."""
_OWN_IMPORT = re.compile(r"^from (?:\.(\w+_finevit)|finevit\.hub\.(spelling)) import [^\n(]*(?:\([^)]*\))?\n", re.MULTILINE)


def save_weights(path: Path, weights: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """A safetensors file, with what Transformers wants to read in it (``format``)."""
    try:
        save_file({name: value.contiguous() for name, value in weights.items()}, path, {"format": "pt", **metadata})
    except SafetensorError as error:  # of what it writes to, since all that it writes is fine
        number = re.search(r"os error (\d+)", str(error))
        raise (OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))) from None
    path.chmod(0o644)


def save_json(path: Path, content: dict[str, Any]) -> None:
    """A readable JSON file."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def copy_code(folder: Path, *names: str) -> None:
    """Modules of ``templates`` as they are: those of a package, which import each other."""
    for name in names:
        (folder / f"{name}.py").write_text((TEMPLATES / f"{name}.py").read_text())


def merge_code(folder: Path, name: str) -> None:
    """One module of ``templates`` as a file of its own: the modules of ``templates`` or ``SHARED`` that it imports are written
    into it."""
    (folder / f"{name}.py").write_text(_merged(name, set()))


def _merged(name: str, seen: set[str]) -> str:
    """A module's text with the texts of its neighbours in place of their imports, each once."""
    seen.add(name)

    def insert(match: re.Match[str]) -> str:
        other = match[1] or match[2]
        return "" if other in seen else f"{_merged(other, seen)}\n"

    return _OWN_IMPORT.sub(insert, (SHARED.get(name) or TEMPLATES / f"{name}.py").read_text())
