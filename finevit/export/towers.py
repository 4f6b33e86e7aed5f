"""The vision towers of Hugging Face Transformers that are known, each read as FineViT's encoder."""

from collections.abc import Callable
from typing import Any

import torch

from finevit.export.foreign import (
    Foreign,
    Reader,
    common,
    is_flat,
    merge_attention,
    merge_gated,
    plain,
    take_attention,
    take_embedding,
    take_norms,
)


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
