"""Weights of other encoders: equal outputs where the structures meet, refusals that say why where they do not."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from finevit.export.imports import import_tower, load_tower, report, save
from finevit.hub.weights import read_checkpoint
from finevit.packing.packs import PackedImages
from finevit.testing import fill, random_pack

transformers = pytest.importorskip("transformers")
GRIDS = [(4, 6), (10, 8), (2, 2), (12, 4)]


def qwen(*, blocks: list[int], centred: bool = True, biased: bool = False) -> nn.Module:
    """A small vision tower of Qwen2.5-VL, if ``centred`` with a residual stream of mean 0."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    sizes = {"depth": 3, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "out_hidden_size": 16, "window_size": 56}
    config = transformers.Qwen2_5_VLConfig(vision_config={**sizes, "fullatt_block_indexes": blocks}).vision_config
    tower = Qwen2_5_VisionTransformerPretrainedModel(config).eval()
    fill(tower, scale=0.2)
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if "mlp" in name and name.endswith("bias") and not biased:
                parameter.zero_()
            if (centred and name.startswith(("patch_embed", "blocks")) and ".proj." in name) or (
                "down_proj.weight" in name and centred
            ):
                parameter -= parameter.mean(0, keepdim=True)
    return tower


def qwen_tokens(tower: nn.Module, images: PackedImages) -> list[Tensor]:
    """What the tower's merger reads, after its norm, in raster order."""
    from transformers.vision_utils import get_vision_window_index

    merged = [
        part.unflatten(0, (r // 2, 2, c // 2, 2)).permute(0, 2, 1, 3, 4).flatten(0, 3)
        for part, (r, c) in zip(images.pixels.split(list(images.seqlens)), images.shapes, strict=True)
    ]
    pixels = torch.cat(merged).unflatten(1, (3, 1, 14, 14)).expand(-1, -1, 2, -1, -1).flatten(1)
    grid = torch.tensor([(1, *shape) for shape in images.shapes])
    hidden = tower.merger.ln_q(tower(pixels, grid_thw=grid).last_hidden_state)
    config = tower.config
    order, _ = get_vision_window_index(grid, config.spatial_merge_size, config.window_size, config.patch_size)
    hidden = hidden.unflatten(0, (-1, 4))[order.argsort()].flatten(0, 1)
    parts = zip(hidden.split(list(images.seqlens)), images.shapes, strict=True)
    return [part.unflatten(0, (r // 2, c // 2, 2, 2)).permute(0, 2, 1, 3, 4).flatten(0, 3) for part, (r, c) in parts]


@pytest.mark.parametrize("blocks", [[0, 1, 2], [1]])
@torch.no_grad()
def test_a_qwen_tower_of_a_centred_stream_is_taken_over_exactly(blocks: list[int], tmp_path: Path) -> None:
    tower = qwen(blocks=blocks)
    encoder, found = import_tower(tower)
    images = random_pack(GRIDS)
    images = images._replace(pixels=images.pixels.float())
    tokens = encoder(images).tokens
    wanted = torch.cat(qwen_tokens(tower, images))
    assert wanted.std() > 0.3
    assert (tokens - wanted).abs().max() < 1e-4
    assert encoder.window == (0 if len(blocks) == 3 else 4)
    assert found.left_out == [f"merger.mlp.{i}.{part}" for i in (0, 2) for part in ("weight", "bias")]
    assert encoder.rope_theta == 10000.0
    save(encoder, found, tmp_path / "imported.pth", "qwen")
    content = torch.load(tmp_path / "imported.pth", weights_only=True)
    assert content["meta"]["backbone"]["arch"] == {"depth": 3, "dim": 32, "heads": 2, "mlp_dim": 48}
    assert torch.equal(content["state_dict"]["backbone.norm.weight"], tower.merger.ln_q.weight)


def test_a_qwen_tower_as_it_is_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="RMSNorm, where ours is LayerNorm") as caught:
        import_tower(qwen(blocks=[0, 1, 2], centred=False))
    assert "biases" not in str(caught.value)
    with pytest.raises(ValueError, match="block 2: the SwiGLU has biases, ours has none"):
        import_tower(qwen(blocks=[0, 1, 2], biased=True))


def tower_of(kind: str) -> nn.Module:
    """A small tower of another family."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
    fixed = {**sizes, "image_size": 56}
    makers = {
        "siglip": lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**fixed, intermediate_size=48)),
        "siglip2": lambda: transformers.Siglip2VisionModel(
            transformers.Siglip2VisionConfig(**sizes, intermediate_size=48, num_patches=16)
        ),
        "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**fixed, mlp_ratio=2)),
        "dinov2-giant": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**fixed, mlp_ratio=3, use_swiglu_ffn=True)),
        "dinov3": lambda: transformers.DINOv3ViTModel(
            transformers.DINOv3ViTConfig(**fixed, intermediate_size=48, num_register_tokens=4)
        ),
        "dinov3-gated": lambda: transformers.DINOv3ViTModel(
            transformers.DINOv3ViTConfig(**fixed, intermediate_size=48, use_gated_mlp=True, hidden_act="silu", layer_norm_eps=1e-6)
        ),
    }
    tower = makers[kind]().eval()
    fill(tower, scale=0.2)
    return tower


REASONS = {
    "siglip": ["learned positions", "two matrices with gelu_pytorch_tanh", "its pooling head"],
    "siglip2": ["learned positions", "two matrices with gelu_pytorch_tanh", "its pooling head"],
    "dinov2": ["learned positions", "a class token", "two matrices with gelu"],
    "dinov2-giant": ["learned positions", "a class token", "block 1: the SwiGLU has biases"],
    "dinov3": [
        "a class token",
        "4 register tokens",
        "normalised to the image's size",
        "epsilon is 1e-05",
        "two matrices with gelu",
    ],
    "dinov3-gated": ["a class token", "normalised to the image's size", "block 0: the SwiGLU has biases"],
}


@pytest.mark.parametrize("kind", list(REASONS))
def test_others_are_refused_for_what_differs_and_give_what_fits(kind: str) -> None:
    tower = tower_of(kind)
    with pytest.raises(ValueError, match="add --partial") as caught:
        import_tower(tower)
    listed = str(caught.value).splitlines()[1:-1]
    assert all(any(reason in line for line in listed) for reason in REASONS[kind]), listed
    encoder, found = import_tower(tower, partial=True)
    gated = "gated" in kind or "giant" in kind
    assert ("blocks.0.feed_forward.down.weight" in found.weights) == gated
    assert [line for line in report(encoder, found) if "begins new: blocks.1.feed_forward.gate_up.weight" in line] == (
        [] if gated else ["begins new: blocks.1.feed_forward.gate_up.weight"]
    )
    assert any("position" in name or "token" in name for name in found.left_out)


@pytest.mark.parametrize("kind", list(REASONS))
@torch.no_grad()
def test_what_fits_computes_the_same(kind: str) -> None:
    from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

    tower = tower_of(kind)
    encoder, _ = import_tower(tower, partial=True)
    pixels = torch.randn(1, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    patch = convert_image_to_patches(pixels[0], 14) if kind == "siglip2" else pixels
    embed = {"siglip": "embeddings.patch_embedding", "siglip2": "embeddings.patch_embedding"}
    embed |= {"dinov3": "embeddings.patch_embeddings", "dinov3-gated": "embeddings.patch_embeddings"}
    theirs = tower.get_submodule(embed.get(kind, "embeddings.patch_embeddings.projection"))(patch).flatten()
    assert (encoder.embed(pixels.flatten(1))[0] - theirs).abs().max() < 1e-4
    layers = {"sig": "encoder.layers", "dinov2": "encoder.layer", "dinov3": "model.layer"}
    layer = tower.get_submodule(layers["sig" if kind.startswith("sig") else kind[:6]])[1]
    x = torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(1))  # a single token: no position takes part
    first = layer.layer_norm1 if kind.startswith("sig") else layer.norm1
    attention = layer.self_attn if kind.startswith("sig") else layer.attention
    still = {"position_embeddings": (torch.ones(1, 16), torch.zeros(1, 16))} if kind.startswith("dinov3") else {}
    wanted = attention(first(x), **still)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    wanted = wanted if kind.startswith("sig") else layer.layer_scale1(wanted)
    block = encoder.blocks[1]
    value = block.attention.qkv(block.norm1(x)).chunk(3, -1)[2]
    assert (block.attention.out(value) - wanted).abs().max() < 1e-3


def test_the_tool_reads_a_folder_and_says_what_begins_new(tmp_path: Path, monkeypatch, capsys) -> None:
    tower_of("dinov2").save_pretrained(tmp_path / "dino")
    tool = Path(__file__).parents[1] / "tools/import_weights.py"
    arguments = [str(tool), str(tmp_path / "dino"), "--out", str(tmp_path / "out.pth")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit):
        runpy.run_path(str(tool), run_name="__main__")
    assert "FineViT cannot give this encoder's outputs" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*arguments, "--partial"])
    runpy.run_path(str(tool), run_name="__main__")
    said = capsys.readouterr().out
    assert "differs: a class token takes part in attention" in said
    assert "left out: embeddings.cls_token" in said
    assert "begins new: blocks.0.feed_forward.down.weight" in said
    assert "'dim': 32" in said
    weights = torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]
    assert len(weights) == 4 + 2 * 9
    monkeypatch.setattr(sys, "argv", [*arguments[:-1], str(tmp_path / "new/out.safetensors"), "--partial"])
    runpy.run_path(str(tool), run_name="__main__")
    read = read_checkpoint(tmp_path / "new/out.safetensors", setting="load_from", remedy="")
    assert {name: value.shape for name, value in read["state_dict"].items()} == {n: value.shape for n, value in weights.items()}
    assert read["state_dict"]["backbone.blocks.1.attention.out.weight"].equal(weights["backbone.blocks.1.attention.out.weight"])
    assert json.loads(read["meta"]["metadata"]["backbone"])["arch"]["dim"] == 32
    (tmp_path / "dino/config.json").write_text("{}")
    with pytest.raises(ValueError, match="could not be loaded"):
        load_tower(str(tmp_path / "dino"))
