"""timm's Muon for machines that only emulate bfloat16, where its iteration in bfloat16 takes many times as long as in float32.

A module of its own, because it loads timm.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from timm.optim import Muon

_timm: Any = sys.modules[Muon.__module__]


class Float32Muon(Muon):
    """Muon whose Newton-Schulz iteration runs in float32; its state and its checkpoints are those of timm's."""

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        """One step of the optimiser."""
        with _float32_iteration():
            return super().step(closure)


@contextmanager
def _float32_iteration() -> Iterator[None]:
    """timm has no setting for the iteration's precision, its function has: the function is replaced for the moment of a step."""
    function = _timm.zeropower_via_newtonschulz
    _timm.zeropower_via_newtonschulz = partial(function, dtype=torch.float32)
    try:
        yield
    finally:
        _timm.zeropower_via_newtonschulz = function
