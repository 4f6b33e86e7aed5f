"""Padded batches in the place of packs: one graph that torch.export can trace, and who reads the padding of their maps."""

import logging
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from einops import rearrange
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention, silu
from torch.nn.modules.module import register_module_forward_hook

from finevit.layers import Block
from finevit.ops.rope2d import rope_table, rotate


def whole_maps(encoder: Any, images: Tensor) -> tuple[Tensor, ...]:
    """What ``FineViT.dense`` gives of ``[images, 3, height, width]``, by masks in the place of packs; in evaluation mode."""
    if encoder.window:
        raise ValueError(f"model.backbone.window={encoder.window}: torch.export knows no windows; set it to 0")
    patch = encoder.patch
    height, width = images.shape[2:]
    images = pad(images, (0, (patch - width % patch) % patch, 0, (patch - height % patch) % patch))
    rows, cols = images.shape[2] // patch, images.shape[3] // patch
    inside = _inside(images, rows, cols, patch)
    x = encoder.embed(rearrange(images, "b c (r p) (s q) -> b (r s) (c p q)", p=patch, q=patch))
    places = torch.stack(torch.meshgrid(*(torch.arange(side, device=x.device) for side in (rows, cols)), indexing="ij"), -1)
    cos, sin = rope_table(places.reshape(rows * cols, 2), encoder.head_dim, encoder.rope_theta, x.dtype)
    table = cos[:, 0], sin[:, 0]
    found = {}
    for index, block in enumerate(encoder.blocks):
        x = _block(block, x, table, inside.flatten(1)[:, None, None])
        found[index] = x
    return tuple(
        encoder.norm(found[layer]).transpose(1, 2).unflatten(2, (rows, cols)) * inside[:, None] for layer in encoder.out_layers
    )


def _inside(images: Tensor, rows: int, cols: int, patch: int) -> Tensor:
    """Which cells hold something of an image, ``[images, rows, cols]``: up to its last pixel that is not 0."""
    cells = (images != 0).any(1).unflatten(2, (cols, patch)).unflatten(1, (rows, patch)).any(4).any(2)
    along = [cells.any(axis).flip(1).cumsum(1).flip(1) > 0 for axis in (2, 1)]  # up to the last row, the last column
    inside = along[0][:, :, None] & along[1][:, None]
    return inside | ~cells.flatten(1).any(1)[:, None, None]


def _block(block: Block, x: Tensor, table: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    """``[images, patches, dim]`` in and out; ``mask [images, 1, 1, patches]`` is what attention reads."""
    attention, feed = block.attention, block.feed_forward
    query, key, value = attention.qkv(block.norm1(x)).unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    query, key = (rotate(each, table) for each in (query, key))
    y = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    x = x + attention.out(y.transpose(1, 2).flatten(2))
    gate, up = feed.gate_up(block.norm2(x)).chunk(2, dim=-1)
    return x + feed.down(silu(gate) * up)


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
