"""Numbers that are not finite in what a checkpoint holds, by name."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from finevit.weights import not_finite, read_checkpoint, weights_of

APART = ("state_dict", "meta", "message_hub")
"""Parts of a checkpoint that are no state of the optimisation."""


def odd_state(checkpoint: Mapping[str, Any]) -> list[str]:
    """Where optimiser, schedules and averages have numbers that are not finite."""
    return list(dict.fromkeys(path for part in checkpoint.keys() - set(APART) for path in _odd(checkpoint[part], part, set())))


def _odd(value: Any, path: str, seen: set[int]) -> Iterator[str]:
    if isinstance(value, Tensor):
        if not value.isfinite().all():
            yield path
    elif isinstance(value, float):
        if math.isnan(value):
            yield path
    elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
        seen.add(id(value))
        for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _odd(each, f"{path}.{key}", seen)


def newest_finite(paths: Iterable[Path]) -> str:
    """The first file of finite weights, newest first; empty where there is none."""
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            weights = weights_of(read_checkpoint(path, setting="checkpoint", remedy=""))
            if not not_finite(weights):
                return str(path)
        except ValueError:
            continue
    return ""
