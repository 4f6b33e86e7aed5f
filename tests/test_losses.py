"""The Stage I objective by hand arithmetic, a naive loop, gradients and invariances; masks."""

import pytest
import torch
from torch.autograd import gradcheck

from finevit.heads import DistillationHead
from finevit.ops.distillation import random_mask, squared_distance
from finevit.packing.images import repeat_images
from finevit.testing import random_pack


def test_by_hand():
    prediction = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 3.0]])
    target = torch.tensor([[0.0, 0.0], [9.0, 9.0], [3.0, 1.0]])
    chosen = torch.tensor([True, False, True])
    assert squared_distance(prediction, target, chosen).item() == pytest.approx((1 + 4 + 0 + 4) / 2)
    assert squared_distance(prediction, target, torch.zeros(3, dtype=torch.bool)).item() == 0


def test_equals_a_loop_and_its_gradient_is_right():
    torch.manual_seed(0)
    prediction, target = torch.randn(2, 40, 6).unbind()
    chosen = torch.rand(40) < 0.75
    total = sum(((prediction[i] - target[i]) ** 2).sum() for i in range(40) if chosen[i])
    assert torch.allclose(squared_distance(prediction, target, chosen), total / chosen.sum())
    leaf = prediction.clone().requires_grad_()
    squared_distance(leaf, target, chosen).backward()
    expected = torch.where(chosen[:, None], 2 * (prediction - target) / chosen.sum(), 0)
    assert torch.allclose(leaf.grad, expected, atol=1e-7)
    order = torch.randperm(40)
    assert torch.allclose(squared_distance(prediction[order], target[order], chosen[order]), total / chosen.sum())


def make_head(**options) -> DistillationHead:
    torch.manual_seed(0)
    return DistillationHead(dim=5, target_dim=7, **options)


def test_visible_patches_count_only_when_weighted():
    torch.manual_seed(1)
    tokens, target, mask = torch.randn(20, 5), torch.randn(20, 7), torch.rand(20) < 0.5
    plain = make_head().loss(tokens, target, mask)
    assert set(plain) == {"loss_masked", "r2"}
    both = make_head(visible_weight=0.5).loss(tokens, target, mask)
    assert both["loss_masked"] == plain["loss_masked"]
    assert torch.allclose(both["loss_visible"], 0.5 * make_head().loss(tokens, target, ~mask)["loss_masked"])


def test_target_norms():
    torch.manual_seed(2)
    batches = [torch.randn(300, 7) * torch.arange(1.0, 8) + 3 for _ in range(20)]
    head = make_head(target_norm="channel")
    for target in batches:
        head.loss(torch.zeros(300, 5), target, torch.ones(300, dtype=torch.bool))
    every = torch.cat(batches)
    assert torch.allclose(head.mean, every.mean(0), atol=1e-4)
    assert torch.allclose(head.variance, every.var(0, correction=0), rtol=1e-4)
    wanted = head.normalise(every)
    assert torch.allclose(wanted.mean(0), torch.zeros(7), atol=1e-4)
    tokens = torch.randn(4, 5)
    assert torch.allclose(head.normalise(head.features(tokens)), head.predict(tokens), atol=1e-5)
    layered = make_head(target_norm="layer").normalise(every)
    assert torch.allclose(layered.square().mean(1), torch.ones(len(every)), atol=1e-3)
    with pytest.raises(ValueError, match=r"target_norm.*none, layer, channel"):
        make_head(target_norm="batch")


def test_observing_stops_in_evaluation():
    head = make_head(target_norm="channel").eval()
    head.loss(torch.zeros(3, 5), torch.randn(3, 7), torch.ones(3, dtype=torch.bool))
    assert torch.equal(head.mean, torch.zeros(7))


def test_r2_of_the_batch():
    head = make_head()
    with torch.no_grad():
        head.predict.weight.zero_()
        head.predict.bias.zero_()
    target = torch.randn(50, 7)
    target -= target.mean(0)
    value = head.loss(torch.randn(50, 5), target, torch.ones(50, dtype=torch.bool))["r2"]
    assert value.item() == pytest.approx(0, abs=1e-5)


def test_head_gradients():
    head = make_head(target_norm="layer", visible_weight=0.3).double()
    target, mask = torch.randn(6, 7).double(), torch.tensor([True, False] * 3)

    def total(tokens):
        losses = head.loss(tokens, target, mask)
        return losses["loss_masked"] + losses["loss_visible"]

    assert gradcheck(total, torch.randn(6, 5).double().requires_grad_())


def test_masks_are_exact_shares_and_depend_on_the_generator_only():
    lengths = (4, 100, 37)
    parts = random_mask(lengths, 0.75, torch.Generator().manual_seed(3)).split(list(lengths))
    assert [int(part.sum()) for part in parts] == [3, 75, 28]
    again = random_mask(lengths, 0.75, torch.Generator().manual_seed(3))
    assert torch.equal(torch.cat(parts), again)
    assert not torch.equal(again, random_mask(lengths, 0.75, torch.Generator().manual_seed(4)))
    assert not random_mask(lengths, 0.0).any()
    assert random_mask(lengths, 1.0).all()
    hits = torch.stack([random_mask((20,), 0.25, torch.Generator().manual_seed(i)) for i in range(2000)]).float().mean(0)
    assert (hits - 0.25).abs().max() < 0.05


def test_repeating_a_pack():
    images = random_pack([(2, 2), (1, 3)])
    twice = repeat_images(images, 2)
    assert twice.cu_seqlens.tolist() == [0, 4, 7, 11, 14]
    assert twice.seqlens == (4, 3, 4, 3)
    assert torch.equal(twice.pixels[7:], images.pixels)
    assert repeat_images(images, 1) is images
