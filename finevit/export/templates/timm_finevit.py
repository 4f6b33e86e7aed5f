"""FineViT for timm: importing this file registers ``finevit_tiny``, ``_small``, ``_base``, ``_large`` and ``_custom``.

``timm.create_model("local-dir:FOLDER", pretrained=True)`` reads settings and weights of the folder that this file came in.
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import DropPath, to_2tuple
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .encoder_finevit import Encoder, MeanPool, grid_positions, patchify, rope_table

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FineViT(Encoder):
    """The encoder with timm's methods; images may have any sides that are multiples of the patch.

    Args:
        num_classes: outputs of a linear head on the pooled vector; 0 for none.
        global_pool: ``token`` pools as the encoder was trained, ``avg`` takes the mean of the tokens, empty leaves the tokens.
        in_chans: 3.
        drop_rate: dropout before the head.
        drop_path_rate: share of images for which the last block is left out in training; of earlier blocks less.
        img_size: height and width that data are prepared at, for timm's data settings.
        dynamic_img_size: False refuses images of other sizes than ``img_size``.
        device: where weights are made.
        dtype: of the weights.
        sizes: ``depth``, ``dim``, ``heads``, ``mlp_dim``, ``patch``, ``pool`` and ``rope_theta`` of the encoder.
    """

    num_prefix_tokens = 0

    def __init__(
        self,
        *,
        num_classes: int = 0,
        global_pool: str = "token",
        in_chans: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        img_size: int | tuple[int, int] | None = None,
        dynamic_img_size: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **sizes: Any,
    ) -> None:
        if in_chans != 3:
            raise ValueError(f"in_chans={in_chans}: FineViT reads RGB; give 3")
        if missing := {"depth", "dim", "heads", "mlp_dim"} - set(sizes):
            raise ValueError(f"this FineViT is of no named size: give {', '.join(sorted(missing))}, as in config.json")
        super().__init__(**sizes)
        self.num_features = self.head_hidden_size = self.embed_dim = sizes["dim"]
        self.grad_checkpointing = False
        self.feature_info = [
            {"module": f"blocks.{i}", "num_chs": self.embed_dim, "reduction": self.patch} for i in range(len(self.blocks))
        ]
        for block, rate in zip(self.blocks, torch.linspace(0, drop_path_rate, len(self.blocks)).tolist(), strict=True):
            block.drop_path = DropPath(rate) if rate else nn.Identity()
        self.head_drop = nn.Dropout(drop_rate)
        self.dynamic_img_size = dynamic_img_size
        self.set_input_size(img_size)
        self.reset_classifier(num_classes, global_pool)
        self.to(device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """``[batch, 3, height, width]`` -> ``[batch, patches, dim]`` after the last norm."""
        return self.norm(self._run(x, len(self.blocks))[-1])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pools the tokens; and classifies, unless ``pre_logits``."""
        if self.global_pool:
            x = self.pool(x) if self.global_pool == "token" else x.mean(1)
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]] | dict[str, Any]:
        """Outputs of blocks, as maps or (``NLC``) as tokens; with the tokens after the last norm unless ``intermediates_only``."""
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt={output_fmt!r}: give NCHW or NLC")
        wanted, last = feature_take_indices(len(self.blocks), indices)
        states = self._run(x, last + 1 if stop_early else len(self.blocks))
        found = [self.norm(states[i + 1]) if norm else states[i + 1] for i in wanted]
        if output_fmt == "NCHW":
            grid = (x.shape[2] // self.patch, x.shape[3] // self.patch)
            found = [y.transpose(1, 2).unflatten(2, grid) for y in found]
        if output_dict:
            final = {} if intermediates_only else {"image_features": self.norm(states[-1])}
            return {"image_intermediates": found, **final}
        return found if intermediates_only else (self.norm(states[-1]), found)

    def get_intermediate_layers(
        self,
        x: Tensor,
        n: int | list[int] | tuple[int, ...] = 1,
        reshape: bool = False,
        return_prefix_tokens: bool = False,
        norm: bool = False,
    ) -> list[Tensor]:
        """Outputs of the last ``n`` blocks, or of those that ``n`` lists, as tokens or (``reshape``) as maps: DINO's interface."""
        chosen = n if isinstance(n, int) else list(n)
        form = "NCHW" if reshape else "NLC"
        found = self.forward_intermediates(x, chosen, norm=norm, stop_early=True, output_fmt=form, intermediates_only=True)
        assert isinstance(found, list)
        return found

    def set_input_size(
        self, img_size: int | tuple[int, int] | None = None, patch_size: int | tuple[int, int] | None = None
    ) -> None:
        """Other sides of images, multiples of the patch; nothing is resampled, for positions are rotary. The patch stays."""
        if patch_size is not None and to_2tuple(patch_size) != (self.patch, self.patch):
            raise ValueError(f"patch_size={patch_size}: the weights are for patches of {self.patch} pixels")
        size = None if img_size is None else tuple(to_2tuple(img_size))
        if size and any(side < 1 or side % self.patch for side in size):
            raise ValueError(f"img_size={img_size}: give multiples of the patch, {self.patch} pixels")
        self.img_size = size or getattr(self, "img_size", None)
        self._traits = {**getattr(self, "_traits", {}), "img_size": self.img_size}  # timm's own record of it

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops what the asked blocks do not need."""
        wanted, last = feature_take_indices(len(self.blocks), indices)
        self.blocks = self.blocks[: last + 1]
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.pool = MeanPool()
            self.reset_classifier(0, "")
        return wanted

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new head."""
        if global_pool is not None:
            if global_pool not in ("token", "avg", ""):
                raise ValueError(f"global_pool={global_pool!r}: give token, avg or an empty string")
            self.global_pool = global_pool
        self.num_classes = num_classes
        like: dict[str, Any] = {"device": self.embed.weight.device, "dtype": self.embed.weight.dtype}
        self.head = nn.Linear(self.embed_dim, num_classes, **like) if num_classes else nn.Identity()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Computes every block again in the backward pass."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers, for layer-wise learning rates."""
        return {"stem": r"^embed", "blocks": [(r"^blocks\.(\d+)", None), (r"^norm|^pool", (99999,))]}

    def no_weight_decay(self) -> set[str]:
        """Names that are not to decay."""
        return {"pool.query"}

    def _run(self, x: Tensor, blocks: int) -> list[Tensor]:
        """The embeddings and the outputs of the first blocks."""
        if not self.dynamic_img_size and self.img_size not in (None, tuple(x.shape[2:])):
            raise ValueError(f"images of {x.shape[2]} x {x.shape[3]} pixels: img_size={self.img_size} and dynamic_img_size=False")
        states = [self.embed(patchify(x, self.patch))]
        positions = grid_positions(x.shape[2] // self.patch, x.shape[3] // self.patch, x.device)
        table = rope_table(positions, self.head_dim, self.rope_theta, states[0].dtype)
        for block in self.blocks[:blocks]:
            if self.grad_checkpointing and torch.is_grad_enabled():
                states.append(checkpoint(block, states[-1], table, use_reentrant=False))
            else:
                states.append(block(states[-1], table))
        return states


SIZES: dict[str, dict[str, int]] = {
    "finevit_tiny": {"depth": 6, "dim": 256, "heads": 4, "mlp_dim": 768},
    "finevit_small": {"depth": 12, "dim": 384, "heads": 6, "mlp_dim": 1152},
    "finevit_base": {"depth": 12, "dim": 768, "heads": 12, "mlp_dim": 2304},
    "finevit_large": {"depth": 28, "dim": 1536, "heads": 16, "mlp_dim": 4608},
    "finevit_custom": {},
}
default_cfgs = generate_default_cfgs(
    {
        name: {
            "url": "",
            "num_classes": 0,
            "input_size": (3, 224, 224),
            "fixed_input_size": False,
            "pool_size": None,
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": MEAN,
            "std": STD,
            "first_conv": "embed",
            "classifier": "head",
        }
        for name in SIZES
    }
)


def _make(variant: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    sizes, indices = {**SIZES[variant], **options}, options.pop("out_indices", None)
    sizes.pop("out_indices", None)
    depth = sizes.get("depth", 1)
    chosen: Sequence[int] = indices if indices is not None else [depth - 1]
    features = {"out_indices": chosen, "feature_cls": "getter"}
    return build_model_with_cfg(FineViT, variant, pretrained, feature_cfg=features, **sizes)


@register_model
def finevit_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """6 blocks of width 256."""
    return _make("finevit_tiny", pretrained, kwargs)


@register_model
def finevit_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """12 blocks of width 384."""
    return _make("finevit_small", pretrained, kwargs)


@register_model
def finevit_base(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """12 blocks of width 768."""
    return _make("finevit_base", pretrained, kwargs)


@register_model
def finevit_large(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """28 blocks of width 1536: the size of the paper."""
    return _make("finevit_large", pretrained, kwargs)


@register_model
def finevit_custom(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Any size: give ``depth``, ``dim``, ``heads`` and ``mlp_dim``."""
    return _make("finevit_custom", pretrained, kwargs)
