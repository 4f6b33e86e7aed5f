"""The FineViT encoder: packed native-resolution patches in, packed tokens out (paper, encoder section).

A detector, a segmenter or a classifier of OpenMMLab gives it a padded batch of images instead, and gets feature maps.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from mmengine.model import BaseModule
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from finevit.backbones.padded import Watch, whole_maps
from finevit.contracts import PATCH, EncoderOutput, ImageEncoder
from finevit.hub.origins import changes, mark, note, say, trained_fraction, warn_if_frozen
from finevit.hub.untrusted import MARK
from finevit.hub.weights import check_fit, differences, read_checkpoint, resample_patches, under, weights_of
from finevit.layers import Block, Pool, make_pool
from finevit.ops.attention import Pack
from finevit.ops.rope2d import rope_table
from finevit.packing.dense import pack_dense, unpack_dense, window_order
from finevit.packing.images import check_whole
from finevit.packing.packs import PackedImages
from finevit.precision import float8_linears
from finevit.registry import MODELS

ARCHITECTURES: dict[str, dict[str, int]] = {
    "tiny": {"depth": 6, "dim": 256, "heads": 4, "mlp_dim": 768},
    "small": {"depth": 12, "dim": 384, "heads": 6, "mlp_dim": 1152},
    "base": {"depth": 12, "dim": 768, "heads": 12, "mlp_dim": 2304},
    "large": {"depth": 28, "dim": 1536, "heads": 16, "mlp_dim": 4608},
}
"""``large`` is the one size that the paper publishes (0.86 B); the others keep its proportions."""
THETA = 100.0


@MODELS.register_module()
class FineViT(BaseModule, ImageEncoder):
    """Vision transformer with 2D RoPE and SwiGLU over packs of images of any size.

    Args:
        arch: a name of ``ARCHITECTURES`` or a dict with ``depth``, ``dim``, ``heads`` and ``mlp_dim``.
        patch: side of a patch in pixels; None: 14, as in the paper. Where it is set, the patch embedding of a checkpoint that was
            trained with patches of another size is resampled, which the log says. The loaders cut images alike (``inherit_patch``).
        pool: ``mean`` (no parameters) or ``attention`` (a learned query).
        rope_theta: base of the rotary wavelengths, in patches.
        drop_path: stochastic depth of the last block; grows linearly from 0.
        activation_checkpointing: trade compute for memory by recomputing every block in the backward pass.
        compile: ``torch.compile`` fuses what surrounds the matrix products and attention of a block. One graph serves all blocks
            and packs of any number of patches and images; the first step waits for it.
        float8: compute the products of blocks in 8 bits, on GPUs that can, with ``compile``; weights stay as they are.
        locality: at the start, how strongly the last head of a block prefers near patches (the logit of a patch with itself); the
            preference falls linearly to none in the first head. 0, the paper's, for none; with 4, small encoders learn sooner to
            look at the neighbours of masked patches. Queries and keys get it as a constant bias, which RoPE turns into one for
            small distances.
        window: side, in patches, of the windows within which patches attend to each other, for large images; 0 for none. What is
            in a window stays as it is, so weights of one setting serve the other.
        global_blocks: blocks that attend to the whole image all the same (0 is the first, -1 the last).
        out_layers: blocks whose outputs become the feature maps of a padded batch.
        frozen: train nothing of it, and keep it in evaluation mode.
        init_cfg: MMEngine's initialisation config, such as ``dict(type="Pretrained", checkpoint=FILE, prefix="backbone.")`` for the
            encoder of a checkpoint of any stage; it must fit whole. With ``checkpoint=None`` weights stay random.
    """

    init_cfg: Any
    embed: nn.Linear
    _watch: Watch | None
    random: bool
    told: bool
    pair_cost: float
    """What a pair of patches costs in attention, in units of what a patch costs in the matrices of a block."""

    def __init__(
        self,
        *,
        arch: str | Mapping[str, PositiveInt] = "large",
        patch: Annotated[int, Ge(1), f"the side of a patch in pixels, such as {PATCH} or 16"] | None = None,
        pool: Pool = "mean",
        rope_theta: PositiveFloat = THETA,
        drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0,
        activation_checkpointing: bool = False,
        compile: bool = False,
        float8: bool = False,
        locality: NonNegativeFloat = 0.0,
        window: NonNegativeInt = 0,
        global_blocks: Sequence[int] = (),
        out_layers: Sequence[int] = (-1,),
        frozen: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        depth, dim, heads, mlp_dim = _dimensions(arch)
        self.resamples, self.patch = patch is not None, patch or PATCH
        self.depth, self.dim, self.activation_checkpointing = depth, dim, activation_checkpointing
        self.heads, self.head_dim, self.rope_theta = heads, dim // heads, rope_theta
        self.pair_cost = 2 / (4 * dim + 3 * mlp_dim)
        self.embed = nn.Linear(3 * self.patch**2, dim)
        rates = [drop_path * index / max(1, depth - 1) for index in range(depth)]
        self.blocks = nn.ModuleList(Block(dim=dim, heads=heads, mlp_dim=mlp_dim, drop_path=rate) for rate in rates)
        if float8:
            float8_linears(self.blocks)
        for block in self.blocks if compile else ():
            block.compile(dynamic=True)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pool = make_pool(pool, dim=dim, heads=heads, mlp_dim=mlp_dim)
        self._fill(locality)
        self.window, self.global_blocks = window, {self._block_index(block, "global_blocks") for block in global_blocks}
        self.out_layers = tuple(self._block_index(layer, "out_layers") for layer in out_layers)
        self.frozen, self._watch = frozen, None
        self.requires_grad_(not frozen)
        mark(self)

    @property
    def strides(self) -> tuple[int, ...]:
        """Side in pixels of a cell of each map that a padded batch becomes."""
        return (self.patch,) * len(self.out_layers)

    def init_weights(self) -> None:
        """MMEngine's initialisation; but where it would load what fits of a checkpoint, and go on, all must fit."""
        config = self.init_cfg
        if self.is_init or (config and not (isinstance(config, Mapping) and config.get("type") == "Pretrained")):
            super().init_weights()
            return
        if config and config["checkpoint"] is not None:
            self._load(config["checkpoint"], config.get("prefix") or "")
            note(self, f"loaded from {config['checkpoint']}")
        else:
            note(self, "drawn at random by FineViT")
        self._is_init = True

    def _load(self, file: str, prefix: str) -> None:
        content = read_checkpoint(file, setting="init_cfg.checkpoint", remedy="give a checkpoint of finevit train, of any stage")
        if MARK in (content.get("meta") or {}):
            prefix = "backbone."  # of an export, whatever it has in the file
        weights, where = under(weights_of(content), prefix), f"init_cfg.checkpoint={str(file)!r}, prefix={prefix!r}"
        if not weights:
            parts = sorted({name.partition(".")[0] for name in weights_of(content)})
            raise ValueError(f"{where}: no weights of the file begin so, but with {', '.join(parts[:10])}; set init_cfg.prefix")
        prefix = f"{prefix.removesuffix('.')}." if prefix else ""
        resamples = self.resamples and differences(self.state_dict(), weights).keys() == {"embed.weight"}
        said = resample_patches(weights, "embed.weight", self.patch) if resamples else ""
        check_fit(self.state_dict(), weights, where=where, remedy="set arch and patch as it was trained", prefix=prefix)
        if other := changes(self, content, prefix):
            say(f"{where}: the encoder would do other than it was trained to: {', '.join(other)}; set it so", logging.WARNING)
        self.load_state_dict(weights)
        if said:
            say(f"{where}: {said}")
        say(f"encoder: {len(weights)} tensors from {str(file)!r} (prefix {prefix!r})")

    def train(self, mode: bool = True) -> "FineViT":
        """Training mode, unless it is frozen."""
        return super().train(mode and not self.frozen)

    def forward(  # type: ignore[override]  # what is no pack becomes maps
        self, images: PackedImages | Tensor, *, layers: Sequence[int] = (), replace: tuple[Tensor, Tensor] | None = None
    ) -> EncoderOutput | tuple[Tensor, ...]:
        """Encodes a pack; a padded batch ``[images, 3, height, width]`` becomes maps, see :meth:`dense`.

        ``layers`` asks for outputs of further blocks (0 is the first, -1 the last), each through the final norm. ``replace`` is a
        pair ``(mask [patches] bool, token [dim])``: the embeddings of masked patches are replaced by the token.
        """
        if torch.is_grad_enabled() and not self.told:  # in training, under any runner
            warn_if_frozen(self, "backbone", trained_fraction(self, {}))
        return self.dense(images) if isinstance(images, Tensor) else self.encode(images, layers, replace)

    def encode(
        self, images: PackedImages, layers: Sequence[int] = (), replace: tuple[Tensor, Tensor] | None = None
    ) -> EncoderOutput:
        """What :meth:`forward` does with a pack."""
        if images.pixels.shape[1] != self.embed.in_features:
            cut = math.isqrt(images.pixels.shape[1] // 3)
            raise ValueError(
                f"images are cut into patches of {cut} pixels, the encoder has {self.patch}: set Patchify.patch as its patch"
            )
        x = self.embed(images.pixels)
        if replace is not None:
            mask, token = replace
            x = torch.where(mask[:, None], token.to(x.dtype), x)
        wanted = [self._block_index(layer, "layers") for layer in layers]
        whole, near, order = self._packs(images, x.dtype)
        x = x if order is None else x[order]
        kept: dict[int, Tensor] = {}
        recomputes = self.activation_checkpointing and self.training
        for index, block in enumerate(self.blocks):
            pack = whole if index in self.global_blocks else near
            x = checkpoint(block, x, pack, use_reentrant=False) if recomputes else block(x, pack)
            if index in wanted:
                kept[index] = x
        tokens, *outputs = (self._finish(y, order) for y in (x, *(kept[index] for index in wanted)))
        return EncoderOutput(tokens, self.pool(tokens, whole), tuple(outputs))

    def dense(self, images: Tensor) -> tuple[Tensor, ...]:
        """A padded, normalised batch ``[images, 3, height, width]`` -> maps ``[images, dim, rows, cols]`` of ``out_layers``.

        Rows and columns are those of the batch in patches, rounded up. Attention never sees the padding (what is 0 in all channels,
        to the right and below: :func:`finevit.packing.dense.content_sizes`), and maps are 0 there.
        """
        if torch.compiler.is_exporting():
            return whole_maps(self, images)
        packed = pack_dense(images, patch=self.patch)
        grid = (-(-images.shape[2] // self.patch), -(-images.shape[3] // self.patch))
        outputs = self.encode(packed, self.out_layers).layers
        maps = tuple(unpack_dense(tokens, packed, grid) for tokens in outputs)
        self._watch_padding(maps, padded=any(shape != grid for shape in packed.shapes))
        return maps

    def _watch_padding(self, maps: tuple[Tensor, ...], *, padded: bool) -> None:
        """Of the first padded batch: whether what follows takes the padding for content."""
        if self._watch is not None:
            self._watch.end()
        elif padded:
            self._watch = Watch(maps)

    def _packs(self, images: PackedImages, dtype: torch.dtype) -> tuple[Pack, Pack, Tensor | None]:
        """What attention needs to know of whole images and of their windows, and the patches' order, window by window."""
        order, positions = None, images.positions
        if self.window:
            check_whole(images)
            order, starts, seqlens = window_order(images, self.window)
            positions = positions[order]
        whole = Pack(images.cu_seqlens, images.seqlens, rope_table(positions, self.head_dim, self.rope_theta, dtype))
        return whole, whole if order is None else Pack(starts, seqlens, whole.table), order

    def _finish(self, x: Tensor, order: Tensor | None) -> Tensor:
        """Through the last norm, and back into raster order."""
        x = self.norm(x)
        return x if order is None else torch.empty_like(x).index_copy(0, order, x)

    def maps(self, tokens: Tensor, images: PackedImages) -> list[Tensor]:
        """``[patches, dim]`` -> one feature map ``[dim, rows, cols]`` per image; no patch may have been dropped."""
        check_whole(images)
        return [part.T.unflatten(1, shape) for part, shape in zip(tokens.split(list(images.seqlens)), images.shapes, strict=True)]

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """Layer id of a parameter and the number of layers, for layer-wise learning-rate decay (0 is the embedding)."""
        name = param_name.removeprefix(prefix).removeprefix("module.")  # mmpretrain.LoRAModel's name for it
        if name.startswith("embed."):
            return 0, self.depth + 2
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1, self.depth + 2
        return self.depth + 1, self.depth + 2

    @property
    def function(self) -> dict[str, float]:
        """What decides the encoder's function and leaves no trace in the shapes of its weights."""
        return {"heads": self.heads, "rope_theta": self.rope_theta}

    @staticmethod
    def function_of(config: Mapping[str, Any]) -> dict[str, float]:
        """The same of a config."""
        return {"heads": _dimensions(config.get("arch", "large"))[2], "rope_theta": config.get("rope_theta", THETA)}

    def _block_index(self, layer: int, setting: str) -> int:
        if not -self.depth <= layer < self.depth:
            raise ValueError(f"{setting}: this encoder has blocks 0 to {self.depth - 1} (or -{self.depth} to -1), not {layer}")
        return layer % self.depth

    def _fill(self, locality: float) -> None:
        """Truncated normal of variance 1 / fan-in; what writes to the residual stream is scaled down by the depth (GPT-2)."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.trunc_normal_(parameter, std=(parameter.shape[-1] * (2 * self.depth if residual else 1)) ** -0.5)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        strength = torch.linspace(0, locality, self.heads) / self.head_dim**0.5
        for name, parameter in self.blocks.named_parameters():
            if name.endswith("qkv.bias"):
                parameter.detach().unflatten(0, (3, self.heads, -1))[:2] = strength.sqrt()[:, None]


def _dimensions(arch: str | Mapping[str, int]) -> tuple[int, int, int, int]:
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise ValueError(f"arch: {arch!r} is unknown; choose one of {', '.join(ARCHITECTURES)}, or give a dict")
        arch = ARCHITECTURES[arch]
    if missing := {"depth", "dim", "heads", "mlp_dim"} - set(arch):
        raise ValueError(f"arch: {dict(arch)} lacks {', '.join(sorted(missing))}")
    if arch["dim"] % (4 * arch["heads"]):
        raise ValueError(f"arch: dim {arch['dim']} must be a multiple of 4 * heads ({4 * arch['heads']}) for 2D RoPE")
    return arch["depth"], arch["dim"], arch["heads"], arch["mlp_dim"]
