"""The encoder against a naive implementation, and what a pack may and may not change."""

import copy
import math
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.autograd import gradcheck

from finevit.backbones import FineViT
from finevit.ops import attention
from finevit.ops.attention import FEW, Pack, ragged_attention
from finevit.ops.patches import patchify, snapped_size, unpatchify
from finevit.ops.rope2d import rope_table, rotate
from finevit.packing.images import pack_images
from finevit.packing.packs import PackedImages
from finevit.precision import float8_linears
from finevit.testing import fill, random_pack

SMALL = {"depth": 3, "dim": 48, "heads": 4, "mlp_dim": 80}
GRIDS = [(2, 2), (4, 6), (1, 9), (10, 4), (2, 14), (6, 6), (8, 2), (3, 5), (12, 2), (7, 7)]


def make_encoder(**options) -> FineViT:
    encoder = FineViT(arch=SMALL, **options).double().eval()
    fill(encoder)
    return encoder


def images_of(images: PackedImages, order) -> PackedImages:
    """The same images in another order, or some of them."""
    parts = images.pixels.split(list(images.seqlens))
    chosen = pack_images([np.zeros((images.seqlens[i], 1), np.uint8) for i in order], [images.shapes[i] for i in order])
    return chosen._replace(pixels=torch.cat([parts[i] for i in order]))


def naive(encoder: FineViT, pixels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The paper's encoder for one image, patch by patch, in float64 and plain numpy."""
    w = {name: p.detach().numpy() for name, p in encoder.named_parameters()}
    rows, cols = grid
    heads, dim = SMALL["heads"], SMALL["dim"]
    size = dim // heads

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w[name + ".weight"] + w[name + ".bias"]

    def turn(vector, row, col):
        out, half = vector.copy(), size // 2
        for i in range(half):
            place, k = (row, i) if i < half // 2 else (col, i - half // 2)
            angle = place * encoder.rope_theta ** (-k / (half // 2))
            a, b = vector[i], vector[i + half]
            out[i] = a * math.cos(angle) - b * math.sin(angle)
            out[i + half] = b * math.cos(angle) + a * math.sin(angle)
        return out

    x = pixels @ w["embed.weight"].T + w["embed.bias"]
    for n in range(SMALL["depth"]):
        block = f"blocks.{n}."
        y = norm(x, block + "norm1") @ w[block + "attention.qkv.weight"].T + w[block + "attention.qkv.bias"]
        mixed = np.zeros_like(x)
        for h in range(heads):
            q, k, v = (y[:, part * dim + h * size : part * dim + (h + 1) * size] for part in range(3))
            q = np.stack([turn(q[i], i // cols, i % cols) for i in range(rows * cols)])
            k = np.stack([turn(k[i], i // cols, i % cols) for i in range(rows * cols)])
            logits = q @ k.T / math.sqrt(size)
            share = np.exp(logits - logits.max(-1, keepdims=True))
            mixed[:, h * size : (h + 1) * size] = share / share.sum(-1, keepdims=True) @ v
        x = x + mixed @ w[block + "attention.out.weight"].T
        y = norm(x, block + "norm2") @ w[block + "feed_forward.gate_up.weight"].T
        gate, up = y[:, : SMALL["mlp_dim"]], y[:, SMALL["mlp_dim"] :]
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[block + "feed_forward.down.weight"].T
    return norm(x, "norm")


def test_equals_naive_float64():
    encoder, images = make_encoder(), random_pack(GRIDS)
    tokens = encoder(images).tokens.detach().split(list(images.seqlens))
    for token, pixels, grid in zip(tokens, images.pixels.split(list(images.seqlens)), images.shapes, strict=True):
        expected = naive(encoder, pixels.numpy(), grid)
        assert np.abs(token.numpy() - expected).max() < 1e-9
        assert np.abs(expected).std() > 0.1


def test_neighbours_in_the_pack_do_not_matter():
    encoder, images = make_encoder(pool="attention"), random_pack(GRIDS)
    alone = images_of(images, [3])
    crowd = encoder(images)
    one = encoder(alone)
    assert torch.allclose(crowd.tokens.split(list(images.seqlens))[3], one.tokens, atol=1e-12)
    assert torch.allclose(crowd.pooled[3], one.pooled[0], atol=1e-12)
    other = images._replace(
        pixels=torch.where(torch.arange(len(images.pixels))[:, None] < images.cu_seqlens[3], 0.7, images.pixels)
    )
    assert torch.allclose(encoder(other).pooled[3], one.pooled[0], atol=1e-12)
    assert not torch.allclose(encoder(other).pooled[2], crowd.pooled[2], atol=1e-3)


def test_permuting_the_pack_permutes_the_output():
    encoder, images = make_encoder(), random_pack(GRIDS)
    order = [7, 2, 9, 0, 1, 8, 3, 6, 5, 4]
    straight = encoder(images).tokens.split(list(images.seqlens))
    permuted = encoder(images_of(images, order)).tokens
    assert torch.allclose(torch.cat([straight[i] for i in order]), permuted, atol=1e-12)


def test_rope_logits_depend_on_relative_position_only():
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 3, 24, dtype=torch.float64)

    def logit(a, b):
        positions = torch.tensor([a, b], dtype=torch.int32)
        cos, sin = rope_table(positions, 24, 100.0, torch.float64)
        return (rotate(query, (cos[:1], sin[:1])) * rotate(key, (cos[1:], sin[1:]))).sum(-1)

    here = logit((2, 5), (7, 1))
    assert torch.allclose(here, logit((40, 105), (45, 101)), atol=1e-10)
    assert not torch.allclose(here, logit((2, 5), (7, 2)), atol=1e-3)
    assert not torch.allclose(here, logit((5, 2), (1, 7)), atol=1e-3)


def test_gradients_by_finite_differences():
    torch.manual_seed(0)
    encoder = FineViT(arch={"depth": 1, "dim": 8, "heads": 2, "mlp_dim": 6}, patch=2, pool="attention").double()
    images = random_pack([(1, 2), (2, 2)], patch=2)

    def outputs(pixels, *weights):
        named = dict(zip(dict(encoder.named_parameters()), weights, strict=True))
        out = torch.func.functional_call(encoder, named, (images._replace(pixels=pixels),))
        return out.tokens, out.pooled

    weights = [torch.randn_like(p).mul(0.5).requires_grad_() for p in encoder.parameters()]
    assert gradcheck(outputs, (images.pixels.clone().requires_grad_(), *weights), atol=1e-7)


def test_large_is_the_papers_encoder():
    with torch.device("meta"):
        encoder = FineViT(arch="large")
    blocks = sum(p.numel() for p in encoder.blocks.parameters() if p.ndim > 1)
    assert blocks == 28 * (4 * 1536**2 + 3 * 1536 * 4608) == 858_783_744
    assert encoder.head_dim == 96


def test_maps_and_layers():
    encoder, images = make_encoder(), random_pack(GRIDS)
    output = encoder(images, layers=(0, -1))
    assert torch.equal(output.layers[1], output.tokens)
    first = encoder.maps(output.tokens, images)[1]
    assert first.shape == (48, 4, 6)
    assert torch.equal(first[:, 2, 3], output.tokens[4 + 2 * 6 + 3])
    with pytest.raises(ValueError, match="blocks 0 to 2"):
        encoder(images, layers=(3,))


def test_masked_patches_show_nothing_of_their_pixels():
    encoder, images = make_encoder(), random_pack(GRIDS)
    mask = torch.zeros(len(images.pixels), dtype=torch.bool)
    mask[5:20] = True
    token = torch.ones(48, dtype=torch.float64)
    changed = images._replace(pixels=torch.where(mask[:, None], 0.123, images.pixels))
    assert torch.equal(encoder(images, replace=(mask, token)).tokens, encoder(changed, replace=(mask, token)).tokens)


def test_recompute_and_drop_path():
    images = random_pack(GRIDS)
    plain, light = make_encoder().train(), make_encoder(activation_checkpointing=True).train()
    for encoder in (plain, light):
        encoder(images).tokens.square().mean().backward()
    for one, other in zip(plain.parameters(), light.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-12)
    dropping = make_encoder(drop_path=0.5)
    assert torch.equal(dropping(images).tokens, plain.eval()(images).tokens)
    assert not torch.allclose(dropping.train()(images).tokens, plain(images).tokens)


@pytest.mark.parametrize(
    "options",
    [{"arch": "huge"}, {"arch": {"depth": 1}}, {"arch": {**SMALL, "dim": 40, "heads": 4}}, {"pool": "cls", "arch": SMALL}],
)
def test_bad_settings_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FineViT(**options)


@pytest.mark.parametrize(
    ("size", "pixels", "expected"),
    [
        ((256, 256), 256 * 256, (252, 252)),
        ((448, 448), 448 * 448, (448, 448)),
        ((300, 900), 336 * 336, (196, 560)),
        ((30, 50), 10**6, (28, 56)),
        ((10, 4000), 224 * 224, (28, 1792)),
        ((1, 1), 224 * 224, (28, 28)),
    ],
)
def test_snapped_sizes(size, pixels, expected):
    assert snapped_size(*size, pixels=pixels) == expected


def test_snapped_sizes_keep_budget_and_aspect():
    rng = np.random.default_rng(0)
    for _ in range(500):
        height, width = np.exp(rng.uniform(np.log(200), np.log(3000), 2)).astype(int)
        rows, cols = snapped_size(int(height), int(width), pixels=336 * 336)
        assert rows % 28 == cols % 28 == 0
        assert rows * cols <= 336 * 336 or rows == cols == 28
        if 1 / 3 <= height / width <= 3:
            assert abs(math.log(rows / cols / (height / width))) < 0.3
    assert snapped_size(300, 900, pixels=256 * 256, square=True) == (252, 252)


def test_patchify_round_trip():
    image = np.random.default_rng(0).integers(0, 256, (28, 42, 3), dtype=np.uint8)
    patches = patchify(image, 14)
    assert patches.shape == (6, 588)
    assert np.array_equal(patches[4].reshape(3, 14, 14), image[14:, 14:28].transpose(2, 0, 1))
    assert np.array_equal(unpatchify(torch.from_numpy(patches), (2, 3), 14).permute(1, 2, 0).numpy(), image)


def pack_of(lengths) -> Pack:
    """A pack of images of these lengths; nothing is rotated."""
    still = torch.ones(sum(lengths), 1, 1)
    return Pack(torch.tensor(np.cumsum((0, *lengths)), dtype=torch.int32), lengths, (still, 0 * still))


def test_attention_in_bfloat16_is_close_on_either_side_of_few_patches():
    """Two products and a softmax up to ``FEW`` patches, the fused kernel beyond: both within a percent, gradients too."""
    lengths = (1, 12, FEW, FEW + 1)
    torch.manual_seed(0)
    whole = [torch.randn(sum(lengths), 2, 16) for _ in range(4)]
    found = []
    for dtype in (torch.float64, torch.bfloat16):
        query, key, value = (each.bfloat16().to(dtype).requires_grad_() for each in whole[:3])
        output = ragged_attention(query, key, value, pack_of(lengths))
        found.append([output, *torch.autograd.grad(output, (query, key, value), whole[3].to(dtype))])
    for exact, close in zip(*found, strict=True):
        for part, near in zip(exact.split(list(lengths)), close.double().split(list(lengths)), strict=True):
            assert (part - near).norm() <= 0.01 * part.norm() + 1e-6


def test_flexible_attention_is_that_of_image_after_image(monkeypatch):
    """On CUDA in float32; here without its kernel, from the same mask."""
    lengths = (1, 12, 130, 3)
    torch.manual_seed(0)
    *inputs, upper = (torch.randn(sum(lengths), 2, 16, requires_grad=True) for _ in range(4))
    plain = ragged_attention(*inputs, pack_of(lengths))
    monkeypatch.setattr(attention, "_in_blocks", lambda *_: True)
    monkeypatch.setattr(attention, "_compiled", {attention.create_block_mask: attention.create_block_mask}.__getitem__)
    pack = pack_of(lengths)
    assert pack.mask.shape[-2:] == (146, 146)
    monkeypatch.setattr(attention, "_compiled", {attention.flex_attention: without_kernel}.__getitem__)
    found = ragged_attention(*inputs, pack)
    for one, other in zip(torch.autograd.grad(plain, inputs, upper), torch.autograd.grad(found, inputs, upper), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(plain, found, atol=1e-6)


def without_kernel(query, key, value, *, block_mask):
    """What ``flex_attention`` computes with a mask of this kind: PyTorch has its gradients on a GPU only."""
    index = torch.arange(query.shape[2])
    allowed = block_mask.mask_mod(None, None, index[:, None], index)
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # PyTorch hides it, but not from what makes it an error
def test_compiled_blocks_are_the_same_in_one_graph_for_all_packs(monkeypatch):
    """Of any number of patches and images; without the code generator, which needs a C++ compiler."""
    compiler = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module, **options: compiler(module, backend="aot_eager", **options))
    torch.compiler.reset()
    torch.manual_seed(0)
    compiled = FineViT(arch=SMALL, compile=True, drop_path=0.1).double()
    plain = FineViT(arch=SMALL, drop_path=0.1).double()
    plain.load_state_dict(compiled.state_dict())
    graphs = []
    for grids in (GRIDS, [(4, 6)] * 5, [(8, 8), (2, 2)], GRIDS[::-1]):
        images, gradients = random_pack(grids), []
        for encoder in (plain, compiled):
            torch.manual_seed(1)  # the images whose branches are dropped
            tokens = encoder(images).tokens
            loss = (tokens * torch.arange(tokens.shape[1])).mean()  # of squares behind a norm there is next to no gradient
            gradients.append((loss, *torch.autograd.grad(loss, [p for p in encoder.parameters() if p.requires_grad])))
        assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(*gradients, strict=True))
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] > 0
    assert graphs[1:] == graphs[:1] * 3


def test_products_in_8_bits_are_near_those_in_float32():
    """Emulated; with a number of patches that no product in 8 bits can have."""
    pytest.importorskip("torchao", reason="of the extra float8, which slows every start")
    torch.manual_seed(0)
    plain = FineViT(arch=SMALL)
    rough = copy.deepcopy(plain)
    float8_linears(rough.blocks, emulate=True)
    assert list(rough.state_dict()) == list(plain.state_dict())
    images = random_pack([(5, 3), (4, 6)])
    images = images._replace(pixels=images.pixels.float())
    upper, found = torch.randn(39, SMALL["dim"]), []
    for encoder in (plain, rough):
        tokens = encoder(images).tokens
        found.append([tokens, *torch.autograd.grad(tokens, [block.norm1.weight for block in encoder.blocks], upper)])
    values, *gradients = ((near - exact).norm() / exact.norm() for exact, near in zip(*found, strict=True))
    assert 0.01 < values < 0.15  # 3 bits of a mantissa
    assert all(0.02 < error < 0.4 for error in gradients)  # 2 bits


def test_8_bits_need_a_gpu_that_has_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"float8=True: it takes a GPU .*and there is none; set float8=False"):
        FineViT(arch=SMALL, float8=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A100")
    with pytest.raises(ValueError, match=r"NVIDIA A100 does not"):
        FineViT(arch=SMALL, float8=True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setitem(sys.modules, "torchao.float8", None)
    with pytest.raises(ValueError, match=r'pip install "finevit\[float8\]"'):
        FineViT(arch=SMALL, float8=True)
