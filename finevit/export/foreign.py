"""Vision towers of Hugging Face Transformers, seen as FineViT's encoder: what fits, and what differs.

Weights are told by our names. A difference is what keeps our encoder from giving the tower's outputs, whatever weights it has.
"""

from collections.abc import Mapping
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
