"""Encoders of one size from FineViT and its peers, each fed in the way that it is made for.

Weights are random. Widths of the feed-forward are such that the blocks of all have equally many weights in their matrices. Each
builder imports its library when it is called; it raises :class:`Unavailable` where the installed version cannot do the work.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.speed.work import Grid, Size, patches


class Unavailable(Exception):
    """Why a peer cannot be measured here."""


class Encoder(NamedTuple):
    """``model(*inputs)`` gives the tokens of all images; ``grids`` are what it looks at, without padding."""

    model: nn.Module
    inputs: tuple
    grids: tuple[Grid, ...]

    def to(self, device: torch.device) -> "Encoder":
        """Model and inputs on a device."""
        inputs = (value.to(device) if isinstance(value, Tensor) else value for value in self.inputs)
        return self._replace(model=self.model.to(device), inputs=tuple(inputs))


class Tokens(nn.Module):
    """A model whose output is asked for its tokens."""

    def __init__(self, model: nn.Module, tokens: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.tokens = model, tokens

    def forward(self, *inputs: Tensor) -> Tensor:
        """What ``tokens(model, *inputs)`` gives."""
        return self.tokens(self.model, *inputs)


def finevit(size: Size, grids: Sequence[Grid]) -> Encoder:
    """Ours: a pack, with what the loader computes for it."""
    from finevit.backbones import FineViT
    from finevit.packing.packs import PackedImages

    model = FineViT(arch={name: value for name, value in size._asdict().items() if name != "patch"}, patch=size.patch)
    lengths = tuple(rows * cols for rows, cols in grids)
    offsets = torch.tensor([sum(lengths[:count]) for count in range(len(lengths) + 1)], dtype=torch.int32)

    def tokens(model: nn.Module, pixels: Tensor, positions: Tensor, offsets: Tensor) -> Tensor:
        return model(PackedImages(pixels, positions, offsets, tuple(grids), lengths)).tokens

    inputs = (_pixels(patches(grids), size), torch.cat([_places(grid) for grid in grids]), offsets)
    return Encoder(Tokens(model, tokens), inputs, tuple(grids))


def timm_naflex(size: Size, grids: Sequence[Grid]) -> Encoder:
    """timm's NaFlexVit: a batch padded to its largest image, with a mask; without either where all images are alike."""
    from timm.models.naflexvit import NaFlexVit, NaFlexVitCfg

    settings = NaFlexVitCfg(
        patch_size=size.patch,
        embed_dim=size.dim,
        depth=size.depth,
        num_heads=size.heads,
        mlp_ratio=size.plain_hidden / size.dim,
        global_pool="avg",
    )
    model = NaFlexVit(settings, num_classes=0)
    if len(set(grids)) == 1:
        return Encoder(Tokens(model, lambda model, images: model.forward_features(images)), (_squares(size, grids),), tuple(grids))

    def tokens(model: nn.Module, pixels: Tensor, places: Tensor, valid: Tensor) -> Tensor:
        return model.forward_features(pixels, patch_coord=places, patch_valid=valid)["patches"]  # type: ignore[operator]

    places, valid = _padded(grids)
    return Encoder(Tokens(model, tokens), (_pixels(valid.numel(), size).view(*valid.shape, -1), places, valid), tuple(grids))


def siglip2(size: Size, grids: Sequence[Grid]) -> Encoder:
    """Hugging Face's Siglip2 vision model: as NaFlexVit, padded with a mask; without the pooling head."""
    from transformers import Siglip2VisionConfig, Siglip2VisionModel

    config = Siglip2VisionConfig(
        hidden_size=size.dim,
        intermediate_size=size.plain_hidden,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        patch_size=size.patch,
        vision_use_head=False,
    )

    def tokens(model: nn.Module, pixels: Tensor, valid: Tensor | None, shapes: Tensor) -> Tensor:
        return model(pixels, pixel_attention_mask=valid, spatial_shapes=shapes).last_hidden_state

    _, valid = _padded(grids)
    pixels = _pixels(valid.numel(), size).view(*valid.shape, -1)
    inputs = (pixels, None if valid.all() else valid.long(), torch.tensor(grids))
    return Encoder(Tokens(Siglip2VisionModel(config), tokens), inputs, tuple(grids))


def qwen25(size: Size, grids: Sequence[Grid]) -> Encoder:
    """Hugging Face's Qwen2.5-VL tower: packed; all blocks attend to the whole image, as those of the others do."""
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    config = Qwen2_5_VLVisionConfig(
        **_qwen_settings(size),
        intermediate_size=size.mlp_dim,
        fullatt_block_indexes=list(range(size.depth)),
    )
    return _qwen(Qwen2_5_VisionTransformerPretrainedModel(config), size, grids)


def qwen3(size: Size, grids: Sequence[Grid]) -> Encoder:
    """Hugging Face's Qwen3-VL tower: packed; no features of earlier blocks are handed on."""
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

    config = Qwen3VLVisionConfig(
        **_qwen_settings(size),
        intermediate_size=size.plain_hidden,
        deepstack_visual_indexes=[],
    )
    return _qwen(Qwen3VLVisionModel(config), size, grids)


def _qwen_settings(size: Size) -> dict[str, Any]:
    """What the configs of both towers call by the same names."""
    return {
        "depth": size.depth,
        "hidden_size": size.dim,
        "num_heads": size.heads,
        "patch_size": size.patch,
        "out_hidden_size": size.dim,
    }


def _qwen(model: nn.Module, size: Size, grids: Sequence[Grid]) -> Encoder:
    """A Qwen tower without its merger, which belongs to the language model. It reads a patch twice, as two frames."""
    model.merger = nn.Identity()

    def tokens(model: nn.Module, pixels: Tensor, shapes: Tensor) -> Tensor:
        return model(pixels, grid_thw=shapes).last_hidden_state

    pixels = _pixels(patches(grids), size).unflatten(1, (3, 1, -1)).repeat(1, 1, 2, 1).flatten(1)
    return Encoder(Tokens(model, tokens), (pixels, torch.tensor([(1, *grid) for grid in grids])), tuple(grids))


def open_clip_naflex(size: Size, grids: Sequence[Grid]) -> Encoder:
    """open_clip's NaFlex mode; its tower is timm's NaFlexVit."""
    from importlib.metadata import version
    from inspect import getsource

    from open_clip import timm_model

    installed = f"open_clip_torch {version('open_clip_torch')}"
    if "naflex" in getsource(timm_model).lower():
        raise Unavailable(f"{installed} has a NaFlex mode that this benchmark does not know yet; its tower is timm's NaFlexVit")
    raise Unavailable(f"{installed} has no NaFlex mode")


def mmpretrain_vit(size: Size, grids: Sequence[Grid]) -> Encoder:
    """mmpretrain's VisionTransformer: every image is one square of as many patches as an image has on average.

    It cannot do the same work: aspect ratios are lost. What counts as useful are the patches of its squares.
    """
    from mmpretrain.models import VisionTransformer

    side = 2 * round((patches(grids) / len(grids)) ** 0.5 / 2)
    arch = {"embed_dims": size.dim, "num_layers": size.depth, "num_heads": size.heads, "feedforward_channels": size.plain_hidden}
    model = VisionTransformer(arch=arch, img_size=side * size.patch, patch_size=size.patch, out_type="raw", with_cls_token=False)
    squares = ((side, side),) * len(grids)
    return Encoder(Tokens(model, lambda model, images: model(images)[0]), (_squares(size, squares),), squares)


OURS = "finevit"
ENCODERS: dict[str, Callable[[Size, Sequence[Grid]], Encoder]] = {
    OURS: finevit,
    "timm-naflexvit": timm_naflex,
    "hf-siglip2": siglip2,
    "hf-qwen2.5-vl": qwen25,
    "hf-qwen3-vl": qwen3,
    "open_clip-naflex": open_clip_naflex,
    "mmpretrain-vit": mmpretrain_vit,
}


def _pixels(count: int, size: Size) -> Tensor:
    """Patches ``[count, 3 * patch * patch]``, normalised."""
    return torch.randn(count, 3 * size.patch**2, generator=torch.Generator().manual_seed(0), device="cpu")


def _places(grid: Grid) -> Tensor:
    """Row and column of each patch, ``[patches, 2]`` int32."""
    return torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1])).int()


def _padded(grids: Sequence[Grid]) -> tuple[Tensor, Tensor]:
    """Places ``[images, longest, 2]`` int64 (0 in the padding), and which are patches ``[images, longest]``."""
    longest = max(rows * cols for rows, cols in grids)
    places = torch.zeros(len(grids), longest, 2, dtype=torch.int64)
    valid = torch.zeros(len(grids), longest, dtype=torch.bool)
    for index, grid in enumerate(grids):
        places[index, : grid[0] * grid[1]] = _places(grid)
        valid[index, : grid[0] * grid[1]] = True
    return places, valid


def _squares(size: Size, grids: Sequence[Grid]) -> Tensor:
    """Images of one size, ``[images, 3, height, width]``."""
    rows, cols = grids[0]
    return _pixels(patches(grids), size).view(len(grids), 3, rows * size.patch, cols * size.patch)
