"""Necks between a plain vision transformer and OpenMMLab's heads: ViTDet's pyramid (arXiv 2203.16527), pooling without padding."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from mmengine.model import BaseModule
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from finevit.packing.dense import content_cells, resample_maps
from finevit.registry import MODELS

SCALES = (4.0, 2.0, 1.0, 0.5)
"""Resolutions relative to the patches': with patches of 14 pixels strides of 3.5, 7, 14 and 28 pixels."""


CONVOLUTIONS = 4
"""A level's last layers: two convolutions, with their norms."""


@MODELS.register_module()
class SimpleFPN(BaseModule):
    """ViTDet's simple feature pyramid: the encoder's last map, scaled up by transposed and down by strided pooling.

    Each level ends in a 1 x 1 and a 3 x 3 convolution, each with a normalisation over channels. Levels beyond those of ``scales``
    are the one before, every second cell of it, as RPNs expect.

    Args:
        in_channels: the encoder's width.
        out_channels: channels of every level.
        scales: resolutions relative to the input, from fine to coarse: of 4, 2, 1 and 0.5.
        num_outs: number of levels.
        resample: side in pixels of a patch, and of a cell of the level of resolution 1: with ``(14, 16)``, levels have strides of
            4, 8, 16, ... pixels, for which heads of stock configs are set. None: levels keep to the patches.
        init_cfg: MMEngine's initialisation config.
    """

    def __init__(
        self,
        *,
        in_channels: PositiveInt,
        out_channels: PositiveInt = 256,
        scales: Sequence[float] = SCALES,
        num_outs: PositiveInt = 5,
        resample: Annotated[tuple[PositiveInt, PositiveInt], "the side of a patch and of a cell, at most two patches: (14, 16)"]
        | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not scales or set(scales) - set(SCALES):
            raise ValueError(f"SimpleFPN.scales={tuple(scales)!r}: give some of {SCALES}")
        if num_outs < len(scales):
            raise ValueError(f"SimpleFPN.num_outs={num_outs}: give at least the number of scales, {len(scales)}")
        if resample is not None and resample[1] > 2 * resample[0]:
            raise ValueError(
                f"SimpleFPN.resample={resample!r}: give the side of a patch and of a cell, at most two patches: (14, 16)"
            )
        self.num_outs, self.scales, self.resample = num_outs, tuple(scales), resample
        self.levels = nn.ModuleList(_level(in_channels, out_channels, scale) for scale in scales)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The encoder's maps, of which the last one ``[images, in_channels, rows, cols]`` counts -> one map per level."""
        outputs = [self._level(level, scale, maps[-1]) for level, scale in zip(self.levels, self.scales, strict=True)]
        while len(outputs) < self.num_outs:
            outputs.append(max_pool2d(outputs[-1], 1, stride=2))
        return tuple(outputs)

    def _level(self, level: Any, scale: float, x: Tensor) -> Tensor:
        """Scaled, then moved onto cells of other pixels where these are asked for, then through the level's convolutions."""
        if self.resample is None:
            return level(x)
        (patch, cell), rows, cols = self.resample, *x.shape[2:]
        size = [math.ceil(side * patch * scale / cell) for side in (rows, cols)]
        return level[-CONVOLUTIONS:](resample_maps(level[:-CONVOLUTIONS](x), size, step=cell / patch))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of a map ``[images, channels, rows, cols]``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _level(channels: int, out_channels: int, scale: float) -> nn.Sequential:
    """One scale's layers; width halves with each doubling of the resolution."""
    steps: list[nn.Module] = []
    if scale == 0.5:
        steps.append(nn.MaxPool2d(2, stride=2))
    while scale > 1:
        steps.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        scale, channels = scale / 2, channels // 2
        if scale > 1:
            steps += [ChannelNorm(channels), nn.GELU()]
    steps += [nn.Conv2d(channels, out_channels, 1, bias=False), ChannelNorm(out_channels)]
    steps += [nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False), ChannelNorm(out_channels)]
    return nn.Sequential(*steps)


@MODELS.register_module()
class AveragePool(BaseModule):
    """The mean of an image's own cells, as a neck for mmpretrain's classifiers.

    mmpretrain's GlobalAveragePooling takes in the padding of a batch, by which an image's features would depend on its neighbours.
    """

    knows_padding = True

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The encoder's maps, ``[images, channels, rows, cols]`` each -> ``[images, channels]`` each."""
        return tuple((each.float().sum((2, 3)) / content_cells(each).sum((1, 2))[:, None]).to(each.dtype) for each in maps)


@MODELS.register_module()
class AttentivePool(BaseModule):
    """A learned query reads a map's cells without the padding: the attentive probe of V-JEPA and AIM, as a neck for mmpretrain.

    Args:
        in_channels: the encoder's width.
        heads: of the attention; a divisor of the width.
        init_cfg: MMEngine's initialisation config.
    """

    knows_padding = True

    def __init__(self, *, in_channels: PositiveInt, heads: PositiveInt = 16, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if in_channels % heads:
            raise ValueError(f"AttentivePool.heads={heads}: give a divisor of in_channels, {in_channels}")
        self.query = nn.Parameter(torch.zeros(1, 1, in_channels))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.norm = nn.LayerNorm(in_channels)
        self.attention = nn.MultiheadAttention(in_channels, heads, batch_first=True)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """The encoder's maps; the last one, ``[images, in_channels, rows, cols]``, counts -> ``([images, in_channels],)``."""
        tokens = self.norm(maps[-1].flatten(2).transpose(1, 2))
        padding = ~content_cells(maps[-1]).flatten(1)
        queries = self.query.expand(len(tokens), -1, -1)
        pooled, _ = self.attention(queries, tokens, tokens, key_padding_mask=padding, need_weights=False)
        return (pooled[:, 0],)
