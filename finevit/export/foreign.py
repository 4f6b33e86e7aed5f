"""Vision towers of Hugging Face Transformers, seen as FineViT's encoder: what fits, and what differs.

Weights are told by our names. A difference is what keeps our encoder from giving the tower's outputs, whatever weights it has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-6
"""Of our norms."""
FLAT = 1e-5
"""A mean over features that is smaller than this share of the values' size is none."""


@dataclass
class Foreign:
    """``settings`` are arguments of ``FineViT``, ``weights`` what fits by our names, ``differences`` what does not meet,
    ``left_out`` the tower's weights that have no place here."""

    settings: dict[str, Any]
    weights: dict[str, Tensor] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class Reader:
    """The tower's weights in float64; remembers which were asked for."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights, self.seen = weights, set[str]()

    def __call__(self, name: str) -> Tensor:
        self.seen.add(name)
        return self.weights[name].detach().double()

    def maybe(self, name: str, like: Tensor) -> Tensor:
        """A bias that may be absent: zeros then, one for each row of ``like``."""
        return self(name) if name in self.weights else like.new_zeros(like.shape[0])

    def rest(self) -> list[str]:
        return [name for name in self.weights if name not in self.seen]


def common(config: Any, mlp_dim: int) -> Foreign:
    """The sizes that most configs name alike."""
    sizes = {"depth": config.num_hidden_layers, "dim": config.hidden_size, "heads": config.num_attention_heads, "mlp_dim": mlp_dim}
    found = Foreign({"arch": sizes, "patch": config.patch_size})
    if config.layer_norm_eps != EPSILON:
        found.differences.append(f"its norms' epsilon is {config.layer_norm_eps:g}, ours {EPSILON:g}")
    return found


def plain(activation: str) -> str:
    """The difference of a feed-forward layer without a gate."""
    return f"feed-forward layers of two matrices with {activation}, where ours are SwiGLU"


def take_embedding(found: Foreign, read: Reader, at: str) -> None:
    """A convolution, or a linear layer, over patches."""
    found.weights |= {"embed.weight": read(f"{at}.weight").flatten(1), "embed.bias": read(f"{at}.bias")}
    if read.weights[f"{at}.weight"].ndim == 2:  # NaFlex's linear layer reads row, column, channel; ours channel, row, column
        patch = found.settings["patch"]
        pixels = found.weights["embed.weight"].unflatten(1, (patch, patch, 3))
        found.weights["embed.weight"] = pixels.permute(0, 3, 1, 2).flatten(1)


def take_norms(found: Foreign, read: Reader, i: int, at: str, names: tuple[str, str]) -> None:
    """Both norms of a block."""
    for ours, theirs in zip(("norm1", "norm2"), names, strict=True):
        for part in ("weight", "bias"):
            found.weights[f"blocks.{i}.{ours}.{part}"] = read(f"{at}{theirs}.{part}")


def take_attention(found: Foreign, read: Reader, i: int, at: str, out: str, scale: Tensor | None = None) -> None:
    """Three matrices become one; LayerScale goes into the output matrix."""
    parts = [read(f"{at}{name}_proj.weight") for name in "qkv"]
    biases = [read.maybe(f"{at}{name}_proj.bias", part) for name, part in zip("qkv", parts, strict=True)]
    weight, bias = read(f"{at}{out}.weight"), read.maybe(f"{at}{out}.bias", parts[0])
    if scale is not None:
        weight, bias = scale[:, None] * weight, scale * bias
    merge_attention(found, i, torch.cat(parts), torch.cat(biases), weight, bias)


def merge_attention(found: Foreign, i: int, qkv: Tensor, bias: Tensor, out: Tensor, out_bias: Tensor) -> None:
    """Weights of attention sum to 1, so a bias of the output is one of the values, through the output matrix's inverse."""
    if out_bias.abs().max() > 0:
        moved = torch.linalg.lstsq(out, out_bias[:, None]).solution[:, 0]
        if (out @ moved - out_bias).abs().max() > FLAT * out_bias.abs().max():
            found.differences.append(f"block {i}: the bias of attention's output cannot become one of the values")
        bias = bias + torch.cat((torch.zeros_like(moved), torch.zeros_like(moved), moved))
    names = ("attention.qkv.weight", "attention.qkv.bias", "attention.out.weight")
    found.weights |= {f"blocks.{i}.{name}": value for name, value in zip(names, (qkv, bias, out), strict=True)}


def merge_gated(found: Foreign, i: int, weights: list[Tensor], biases: list[Tensor]) -> None:
    """Gate and up become one matrix."""
    if any(bias.abs().max() > 0 for bias in biases):
        found.differences.append(f"block {i}: the SwiGLU has biases, ours has none")
    gate, up, down = weights
    names = ("feed_forward.gate_up.weight", "feed_forward.down.weight")
    found.weights |= {f"blocks.{i}.{name}": value for name, value in zip(names, (torch.cat((gate, up)), down), strict=True)}


def is_flat(weight: Tensor) -> bool:
    """Whether what a matrix ``[features, inputs]`` writes has mean 0 over the features."""
    return bool(weight.mean(0).abs().max() <= FLAT * weight.abs().max())


def read_tower(tower: Any) -> Foreign:
    """What our encoder can take over of a vision tower of Transformers."""
    kind = tower.config.model_type
    if kind not in TOWERS:
        raise ValueError(f"model_type={kind!r}: no mapping is known; give one of {', '.join(TOWERS)}")
    read = Reader(tower.state_dict())
    found = TOWERS[kind](tower.config, read)
    found.weights = {name: value.float() for name, value in found.weights.items()}
    found.left_out = read.rest()
    return found


def _qwen(config: Any, read: Reader) -> Foreign:
    """Qwen2.5-VL: RoPE, SwiGLU and windows are ours; the norms are not, unless the residual stream has mean 0."""
    sizes = {"depth": config.depth, "dim": config.hidden_size, "heads": config.num_heads, "mlp_dim": config.intermediate_size}
    wide = config.window_size // config.spatial_merge_size // config.patch_size * config.spatial_merge_size
    windows = {"window": wide, "global_blocks": sorted(config.fullatt_block_indexes)}
    whole = len(windows["global_blocks"]) == config.depth
    found = Foreign(
        {
            "arch": sizes,
            "patch": config.patch_size,
            "rope_theta": config.rope_parameters["rope_theta"],
            **({} if whole else windows),
        }
    )
    weights = found.weights
    weights["embed.weight"] = read("patch_embed.proj.weight").sum(2).flatten(1)  # the frames of a still image are the same
    weights["embed.bias"] = weights["embed.weight"].new_zeros(config.hidden_size)
    written = [weights["embed.weight"]]
    for i in range(config.depth):
        ours, theirs = f"blocks.{i}.", f"blocks.{i}."
        for norm in ("norm1", "norm2"):
            weights[f"{ours}{norm}.weight"] = read(f"{theirs}{norm}.weight")
            weights[f"{ours}{norm}.bias"] = torch.zeros_like(weights[f"{ours}{norm}.weight"])
        out = read(f"{theirs}attn.proj.weight"), read(f"{theirs}attn.proj.bias")
        merge_attention(found, i, read(f"{theirs}attn.qkv.weight"), read(f"{theirs}attn.qkv.bias"), *out)
        names = [f"{theirs}mlp.{name}_proj" for name in ("gate", "up", "down")]
        merge_gated(found, i, [read(f"{name}.weight") for name in names], [read(f"{name}.bias") for name in names])
        written += [out[0], out[1][:, None], read(f"{names[2]}.weight"), read(f"{names[2]}.bias")[:, None]]
    weights["norm.weight"] = read("merger.ln_q.weight")
    weights["norm.bias"] = torch.zeros_like(weights["norm.weight"])
    if config.hidden_act != "silu":
        found.differences.append(f"the feed-forward layers' activation is {config.hidden_act}, ours silu")
    if not all(is_flat(each) for each in written):
        found.differences.append(
            "RMSNorm, where ours is LayerNorm: they agree only where all that is written to the residual stream has mean 0 over "
            "its features, and here it has not"
        )
    return found


def _siglip(config: Any, read: Reader) -> Foreign:
    """SigLIP and SigLIP2 (fixed sizes or NaFlex): patch embedding, norms and attention have our shapes."""
    found = common(config, config.intermediate_size)
    found.differences += ["learned positions, where ours are rotary", plain(config.hidden_act)]
    take_embedding(found, read, "embeddings.patch_embedding")
    for i in range(config.num_hidden_layers):
        at = f"encoder.layers.{i}."
        take_norms(found, read, i, at, ("layer_norm1", "layer_norm2"))
        take_attention(found, read, i, f"{at}self_attn.", "out_proj")
    found.weights |= {"norm.weight": read("post_layernorm.weight"), "norm.bias": read("post_layernorm.bias")}
    if "head.probe" in read.weights:
        found.differences.append("its pooling head has a GELU feed-forward layer and biases, ours a SwiGLU")
    return found


def _dinov2(config: Any, read: Reader) -> Foreign:
    """DINOv2: as SigLIP, with a class token; its giant has a gated feed-forward layer."""
    mlp_dim = next(
        value.shape[0] for name, value in read.weights.items() if name.endswith(("mlp.fc1.weight", "mlp.gate_proj.weight"))
    )
    found = common(config, mlp_dim)
    found.differences += ["learned positions, where ours are rotary", "a class token takes part in attention"]
    return _dino(found, config, read, "encoder.layer", "embeddings.patch_embeddings.projection", "layernorm", config.use_swiglu_ffn)


def _dinov3(config: Any, read: Reader) -> Foreign:
    """DINOv3: rotary positions, but of coordinates that are normalised to the image."""
    found = common(config, config.intermediate_size)
    found.differences += ["a class token takes part in attention"]
    if config.num_register_tokens:
        found.differences.append(f"{config.num_register_tokens} register tokens take part in attention")
    found.differences.append("rotary positions are normalised to the image's size, ours count patches")
    gated = config.use_gated_mlp
    if gated and config.hidden_act != "silu":
        found.differences.append(f"the feed-forward layers' activation is {config.hidden_act}, ours silu")
    found.settings["rope_theta"] = config.rope_theta
    return _dino(found, config, read, "model.layer", "embeddings.patch_embeddings", "norm", gated and config.hidden_act == "silu")


def _dino(found: Foreign, config: Any, read: Reader, layers: str, embed: str, norm: str, gated: bool) -> Foreign:
    take_embedding(found, read, embed)
    for i in range(config.num_hidden_layers):
        at = f"{layers}.{i}."
        take_norms(found, read, i, at, ("norm1", "norm2"))
        take_attention(found, read, i, f"{at}attention.", "o_proj", read(f"{at}layer_scale1.lambda1"))
        if gated:
            scale = read(f"{at}layer_scale2.lambda1")
            gate, up, down = (read(f"{at}mlp.{name}_proj.weight") for name in ("gate", "up", "down"))
            parts = zip((gate, up, down), ("gate", "up", "down"), strict=True)
            merge_gated(
                found, i, [gate, up, scale[:, None] * down], [read.maybe(f"{at}mlp.{name}_proj.bias", of) for of, name in parts]
            )
    if not gated:
        found.differences.append(plain(config.hidden_act))
    found.weights |= {"norm.weight": read(f"{norm}.weight"), "norm.bias": read(f"{norm}.bias")}
    return found


TOWERS: dict[str, Callable[[Any, Reader], Foreign]] = {
    "siglip_vision_model": _siglip,
    "siglip2_vision_model": _siglip,
    "dinov2": _dinov2,
    "dinov3_vit": _dinov3,
    "qwen2_5_vl_vision": _qwen,
}
"""By ``model_type``."""
