"""Numbers that are not finite in what a checkpoint holds, by name."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from finevit.hub.weights import NOT_FINITE, differences, not_finite, read_checkpoint, refuse, weights_of
from finevit.unwrap import unwrapped

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
        if math.isnan(value) or (math.isinf(value) and path.startswith("optimizer.")):  # bounds of schedules may be infinite
            yield path
    elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
        seen.add(id(value))
        for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _odd(each, f"{path}.{key}", seen)


def check_finite(runner: Any, checkpoint: Mapping[str, Any]) -> None:
    """``ValueError`` where a run would take over weights or statistics that are not finite or, to go on, any other such state."""
    own, weights = unwrapped(runner.model).state_dict(), weights_of(checkpoint)
    fits = {name: weights[name] for name in weights.keys() - differences(own, weights).keys()}
    odd = sorted(name for name in not_finite(fits) if own[name].isfinite().all())
    odd += odd_state(checkpoint) if runner._resume else []
    if odd:
        file = Path(str(runner._load_from))
        found = newest_finite(file.parent.glob("*.pth"), state=runner._resume) if file.is_file() else ""
        offer = f", such as {found}, the newest beside it that is finite" if found else ""
        where = f"{'resume' if runner._resume else 'load_from'}={runner._load_from!r}"
        refuse(dict.fromkeys(odd, NOT_FINITE), where=where, remedy=f"give another checkpoint{offer}")


def newest_finite(paths: Iterable[Path], *, state: bool = False) -> str:
    """The first whole file of finite weights, newest first; with ``state`` of all that a run goes on from. Empty: none is."""
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            content = read_checkpoint(path, setting="checkpoint", remedy="")
            if not not_finite(weights_of(content)) and not (state and ("optimizer" not in content or odd_state(content))):
                return str(path)
        except (ValueError, AttributeError):  # of another kind
            continue
    return ""
