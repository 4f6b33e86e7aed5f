"""The encoder within OpenMMLab's models: padded batches, windows, freezing, and the road by which configs find it."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS as ROOT

from finevit.backbones import FineViT
from finevit.ops.patches import patchify
from finevit.packing.dense import content_sizes, pack_dense, unpack_dense, window_order
from finevit.packing.images import pack_images
from finevit.testing import fill

SMALL = {"depth": 3, "dim": 48, "heads": 4, "mlp_dim": 80}
SIZES = [(70, 42), (28, 98), (98, 98), (45, 31), (14, 14), (56, 83)]


def make(**options) -> FineViT:
    encoder = FineViT(arch=SMALL, **options).double().eval()
    fill(encoder)
    return encoder


def padded(sizes=SIZES, seed=0) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A batch as OpenMMLab's preprocessors make it, and its images."""
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(3, *size, generator=generator, dtype=torch.double) for size in sizes]
    batch = torch.zeros(len(images), 3, max(h for h, _ in sizes), max(w for _, w in sizes), dtype=torch.double)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return batch, images


@pytest.mark.parametrize("options", [{}, {"window": 2}, {"window": 3, "global_blocks": [-1]}])
def test_an_image_in_a_padded_batch_has_the_features_it_has_alone(options):
    encoder, (batch, images) = make(out_layers=[0, -1], **options), padded()
    together = encoder(batch)
    assert [tuple(map_.shape) for map_ in together] == [(6, 48, 7, 7)] * 2
    for index, image in enumerate(images):
        for maps, (alone,) in zip(together, encoder(image[None]), strict=True):
            rows, cols = alone.shape[1:]
            torch.testing.assert_close(maps[index, :, :rows, :cols], alone, rtol=0, atol=1e-12)
            assert maps[index, :, rows:].abs().sum() == 0
            assert maps[index, :, :, cols:].abs().sum() == 0


def test_a_dense_image_is_what_the_loader_makes_of_it():
    encoder, pixels = make(), np.random.default_rng(0).integers(0, 256, (42, 70, 3), dtype=np.uint8)
    packed = pack_images([patchify(pixels, 14)], [(3, 5)])
    packed = packed._replace(pixels=packed.pixels.double() - 0.5)
    (dense,) = encoder(torch.from_numpy(pixels).permute(2, 0, 1)[None].double() - 0.5)
    torch.testing.assert_close(dense[0], encoder.maps(encoder(packed).tokens, packed)[0], rtol=0, atol=1e-12)


def test_sizes_are_read_off_the_padding():
    batch, _ = padded()
    assert content_sizes(batch) == SIZES
    batch[1, :, :, 50] = 0  # a dark line within an image is no padding
    assert content_sizes(batch)[1] == (28, 98)
    assert content_sizes(torch.zeros(1, 3, 20, 30)) == [(20, 30)]


def test_packing_and_unpacking_are_inverse():
    batch, _ = padded()
    packed = pack_dense(batch, patch=14)
    assert packed.shapes == ((5, 3), (2, 7), (7, 7), (4, 3), (1, 1), (4, 6))
    assert packed.cu_seqlens.tolist() == [0, 15, 29, 78, 90, 91, 115]
    assert packed.positions[15:18].tolist() == [[0, 0], [0, 1], [0, 2]]
    maps = unpack_dense(packed.pixels, packed, (7, 7))
    torch.testing.assert_close(maps[2].permute(1, 2, 0).reshape(49, -1), packed.pixels[29:78])


def test_windows_cover_every_patch_once():
    packed = pack_dense(padded()[0], patch=14)
    order, offsets, lengths = window_order(packed, 3)
    assert sorted(order.tolist()) == list(range(115))
    assert lengths[:2] == (9, 6)  # 5 x 3 patches: windows of 3 x 3 and of 2 x 3
    assert lengths[2:5] == (6, 6, 2)  # 2 x 7: two of 2 x 3, one of 2 x 1
    assert offsets[-1] == sum(lengths) == 115
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        cells = packed.positions[order[start:end]] // 3
        assert (cells == cells[0]).all()


def test_a_window_is_an_image_of_its_own_but_for_its_place():
    """RoPE knows differences alone, so a corner window of a windowed encoder equals that corner as an image."""
    encoder, (batch, _) = make(window=3), padded([(84, 84)])
    whole, corner = encoder(batch)[0], encoder(batch[:, :, 42:, 42:])[0]
    torch.testing.assert_close(whole[:, :, 3:, 3:], corner, rtol=0, atol=1e-12)


def test_windows_as_large_as_the_image_change_nothing():
    batch, _ = padded()
    torch.testing.assert_close(make(window=7)(batch), make()(batch), rtol=0, atol=1e-12)
    all_global = make(window=2, global_blocks=[0, 1, 2])
    torch.testing.assert_close(all_global(batch), make()(batch), rtol=0, atol=1e-12)
    assert (make(window=2)(batch)[0] - make()(batch)[0]).abs().max() > 1e-3


def test_a_frozen_encoder_stays_frozen_in_training():
    encoder = make(frozen=True, drop_path=0.5).train()
    assert not encoder.blocks.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert make().train().blocks.training


def test_unknown_blocks_are_named():
    with pytest.raises(ValueError, match=r"out_layers: this encoder has blocks 0 to 2 \(or -3 to -1\), not 3"):
        FineViT(arch=SMALL, out_layers=[3])
    with pytest.raises(ValueError, match="global_blocks: this encoder has blocks"):
        FineViT(arch=SMALL, window=2, global_blocks=[5])


def test_any_openmmlab_config_finds_it_by_its_scope():
    encoder = ROOT.build({"type": "finevit.FineViT", "arch": SMALL})
    assert encoder(torch.randn(1, 3, 28, 42))[0].shape == (1, 48, 2, 3)


def test_gradients_flow_through_windows_to_the_pixels_they_belong_to():
    encoder, (batch, _) = make(window=2), padded([(56, 56)])
    batch.requires_grad_()
    encoder(batch)[0][0, :, 0, 0].sum().backward()
    reached = batch.grad[0].abs().sum(0) > 0
    assert reached[:28, :28].all()
    assert not reached[28:].any()


@pytest.mark.slow
def test_torch_export_gives_the_maps_of_a_padded_batch() -> None:
    model = FineViT(arch={"depth": 2, "dim": 32, "heads": 2, "mlp_dim": 48}, out_layers=[0, -1]).eval()
    fill(model, scale=0.3)
    sides = {0: torch.export.Dim("batch", min=1, max=64), 2: 14 * torch.export.Dim("rows", min=1, max=99)}
    sides[3] = 14 * torch.export.Dim("cols", min=1, max=99)
    graph = torch.export.export(model, (torch.randn(2, 3, 56, 84),), dynamic_shapes=(sides,)).module()
    images = torch.randn(3, 3, 28, 112)
    images[0, :, 20:], images[1, :, :, 50:] = 0, 0
    with torch.no_grad():
        for found, wanted in zip(graph(images), model(images), strict=True):
            assert found.shape == wanted.shape == (3, 32, 2, 8)
            assert (found - wanted).abs().max() < 1e-5
            assert wanted[1, :, :, 4:].abs().max() == 0
