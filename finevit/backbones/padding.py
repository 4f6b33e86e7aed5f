"""Who reads the padding of a padded batch's maps: modules that make one vector of a whole map, as GlobalAveragePooling does."""

import logging
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook


class Watch:
    """Looks at every module's call until :meth:`end`; warns of the first that makes vectors of these maps, padding and all.

    A module that looks at an image's own cells alone says so by an attribute ``knows_padding``.
    """

    def __init__(self, maps: Sequence[Tensor]) -> None:
        self.maps = [weakref.ref(each) for each in maps]
        self.end = register_module_forward_hook(self).remove

    def __call__(self, module: nn.Module, arguments: tuple, output: Any) -> None:
        """After a module's call."""
        maps = [each() for each in self.maps]
        if getattr(module, "knows_padding", False) or not any(given is each for given in _tensors(arguments) for each in maps):
            return
        made = list(_tensors((output,)))
        if made and all(each.ndim < 3 or each.shape[2:].numel() == 1 for each in made):
            self.end()
            print_log(
                f"{type(module).__name__} makes one vector of an image's whole map, with the padding beside images that are "
                "smaller than the batch: their features depend on their neighbours. Give neck=dict(type='finevit.AveragePool') "
                "or finevit.AttentivePool, which look at an image's own cells, or make images of one size",
                logger="current",
                level=logging.WARNING,
            )


def _tensors(values: tuple) -> Iterator[Tensor]:
    """Tensors, and those in tuples and lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(tuple(value))
