"""The stand-ins for mmcv's compiled operations, against compiled mmcv's values; what they refuse."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.ops import (
    batched_nms,
    bbox_overlaps,
    deform_conv2d,
    modulated_deform_conv2d,
    nms,
    nms_match,
    roi_align,
    roi_pool,
    soft_nms,
)
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

from finevit.downstream import ops

sys.path.insert(0, str(Path(__file__).parent / "golden"))
import mmcv_ops

GOLDEN = {name: (case, expected) for name, case, expected in mmcv_ops.load()}
pytestmark = pytest.mark.usefixtures("stand_ins")


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("name", GOLDEN)
def test_values_and_gradients_are_those_of_compiled_mmcv(name):
    case, expected = GOLDEN[name]
    results = mmcv_ops.compute(case)
    assert [(result.shape, result.dtype) for result in results] == [(value.shape, value.dtype) for value in expected]
    for result, value in zip(results, expected, strict=True):
        if value.dtype.kind == "i":
            np.testing.assert_array_equal(result, value)
        else:
            near = 1e-3 if value.dtype == np.float16 else 1e-5
            np.testing.assert_allclose(result, value, rtol=near, atol=near)


@pytest.mark.parametrize("op", ["nms", "nms_match", "roi_align_argmax"])
def test_boxes_and_places_are_the_same_to_the_last_bit(op):
    cases = [pair for pair in GOLDEN.values() if pair[0].op == op]
    assert len(cases) >= 4
    for case, expected in cases:
        for result, value in zip(mmcv_ops.compute(case), expected, strict=True):
            np.testing.assert_array_equal(result, value)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align_in_bfloat16_is_rounded_once(mode):
    features, rois = normal(1, 2, 6, 6, dtype=torch.bfloat16), torch.tensor([[0, 1.0, 1, 5, 5]])
    result = roi_align(features, rois.bfloat16(), (2, 2), 1.0, 0, mode, True)
    assert torch.equal(result, roi_align(features.float(), rois, (2, 2), 1.0, 0, mode, True).bfloat16())


def test_large_maxima_are_taken_in_parts(monkeypatch):
    features, rois = normal(1, 2, 8, 8, dtype=torch.float32), torch.tensor([[0, 1.0, 1, 5, 5], [0, 0, 2, 7, 7], [0, 3, 3, 4, 8]])
    whole = roi_align(features, rois, (2, 2), 1.0, 2, "max", True)
    monkeypatch.setattr(sys.modules["finevit.downstream.ops.roi_align"], "CHUNK", 1)
    assert torch.equal(roi_align(features, rois, (2, 2), 1.0, 2, "max", True), whole)


def test_boxes_that_mmcv_refuses():
    with pytest.raises(ValueError, match=r"sides x2 - x1 and y2 - y1 of rois must not be negative"):
        roi_align(torch.zeros(1, 1, 4, 4), torch.tensor([[0, 3.0, 0, 1, 2]]), 2, 1.0, 0, "avg", True)


KINDS = [torch.float16, torch.bfloat16, torch.float64]
BOXES = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [1, 1, 10, 10]])


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("offset", [0, 1])
def test_suppression_takes_every_type_and_gives_it_back(dtype, offset):
    """mmcv's takes float32 alone: mixed precision would stop there."""
    boxes, scores, groups = BOXES.to(dtype).requires_grad_(), torch.tensor([0.75, 0.5, 0.25]).to(dtype), torch.tensor([0, 0, 1])
    for given in ((boxes, scores), (boxes, scores.float()), (boxes.float(), scores)):
        wide = torch.promote_types(*(tensor.dtype for tensor in given))
        dets, kept = nms(*given, 0.5, offset)
        assert (dets.dtype, kept.tolist()) == (wide, [0, 1])
        dets, kept = soft_nms(*given, 0.5, method="naive", min_score=0.1, offset=offset)
        assert (dets.dtype, kept.tolist(), dets[:, 4].tolist()) == (given[0].dtype, [0, 1], [0.75, 0.5])
        dets, kept = batched_nms(*given, groups, {"type": "nms", "iou_threshold": 0.5, "offset": offset})
        assert (dets.dtype, kept.tolist()) == (wide, [0, 1, 2])
    groups = nms_match(torch.cat([boxes, scores[:, None]], 1), 0.5)
    assert [group.tolist() for group in groups] == [[0, 2], [1]]


@pytest.mark.parametrize("dtype", KINDS)
def test_overlaps_have_room_for_areas_in_half_precision(dtype):
    boxes = torch.tensor([[0.0, 0, 1024, 512], [0, 0, 512, 512]])  # areas beyond what float16 holds
    assert bbox_overlaps(boxes.to(dtype), boxes.to(dtype)).tolist() == [[1, 0.5], [0.5, 1]]


@pytest.mark.parametrize("dtype", [torch.float32, *KINDS])
@pytest.mark.parametrize("kind", ["nms", "soft_nms", None])
def test_no_boxes_are_no_detections(dtype, kind):
    boxes, scores, groups = torch.zeros(0, 4, dtype=dtype), torch.zeros(0, dtype=dtype), torch.zeros(0, dtype=torch.long)
    for options in ({}, {"class_agnostic": True}, {"split_thr": 0}) if kind else (None,):
        found, kept = batched_nms(boxes, scores, groups, None if kind is None else {"type": kind, "iou_threshold": 0.5, **options})
        assert (found.shape, found.dtype, kept.shape, kept.dtype) == ((0, 5), dtype, (0,), torch.long)
    assert [part.shape for part in nms(boxes, scores, 0.5)] == [(0, 5), (0,)]
    assert [part.shape for part in soft_nms(boxes, scores, 0.5)] == [(0, 5), (0,)]
    assert nms_match(torch.zeros(0, 5, dtype=dtype), 0.5) == []
    assert bbox_overlaps(boxes, BOXES.to(dtype)).shape == (0, 3)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("dtype", KINDS)
def test_regions_of_another_type_than_the_maps(mode, dtype):
    """Under autocast maps are of half precision and boxes are not."""
    maps, rois = normal(1, 2, 6, 6, dtype=dtype).requires_grad_(), torch.tensor([[0, 1.0, 1, 5, 5]])
    result = roi_align(maps, rois, (2, 2), 1.0, 2, mode, True)
    result.sum().backward()
    assert (result.dtype, maps.grad.dtype) == (dtype, dtype)
    torch.testing.assert_close(result, roi_align(maps.detach(), rois.to(dtype), (2, 2), 1.0, 2, mode, True), rtol=2**-9, atol=1e-3)
    assert float(maps.grad.sum()) == pytest.approx(8, abs=1e-2)
    assert roi_align(maps, rois[:0], (2, 2), 1.0, 2, mode, True).shape == roi_pool(maps, rois[:0], 2).shape == (0, 2, 2, 2)


@pytest.mark.parametrize("modulated", [False, True])
def test_deformable_convolutions_in_bfloat16_are_rounded_once(modulated):
    def both(dtype):
        parts = normal(1, 4, 5, 5, seed=1), normal(1, 18, 5, 5, seed=2), normal(3, 4, 3, 3, seed=3)
        features, offset, weight = (part.bfloat16().to(dtype).requires_grad_() for part in parts)
        if modulated:
            mask = torch.full((1, 9, 5, 5), 0.5, dtype=dtype)
            output = modulated_deform_conv2d(features, offset, mask, weight, None, 1, 1)
        else:
            output = deform_conv2d(features, offset, weight, 1, 1)
        output.sum().backward()
        return [output.detach(), weight.grad]

    for half, whole in zip(both(torch.bfloat16), both(torch.float32), strict=True):
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), whole, rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_deformable_attention_in_half_precision_is_rounded_once(dtype):
    places = torch.rand(1, 5, 2, 1, 4, 2, generator=torch.Generator().manual_seed(0))
    parts = [part.to(dtype) for part in (normal(1, 16, 2, 3), places, normal(1, 5, 2, 1, 4, seed=2).softmax(-1))]

    def attend(value, places, weights):
        value = value.detach().requires_grad_()
        output = MultiScaleDeformableAttnFunction.apply(value, torch.tensor([[4, 4]]), torch.tensor([0]), places, weights, 64)
        output.sum().backward()
        return [output.detach(), value.grad]

    for half, whole in zip(attend(*parts), attend(*(part.float() for part in parts)), strict=True):
        assert half.dtype == dtype
        assert torch.equal(half, whole.to(dtype))


def test_deform_conv_adds_to_gradients_and_scales_them():
    sizes = {"kW": 1, "kH": 1, "dW": 1, "dH": 1, "padW": 0, "padH": 0, "dilationW": 1, "dilationH": 1, "group": 1}
    features, offset, grad = torch.full((1, 1, 2, 2), 3.0), torch.zeros(1, 2, 2, 2), torch.ones(1, 1, 2, 2)
    total, empty = torch.full((1, 1, 1, 1), 100.0), torch.empty(0)
    settings = {**sizes, "deformable_group": 1, "im2col_step": 1, "scale": 0.5}
    ops.deform_conv_backward_parameters(features, offset, grad, total, empty, empty, **settings)
    assert total.item() == 106  # four pixels of 3, half of it


def test_operations_without_stand_in_say_how_to_compile_them():
    assert hasattr(ops, "carafe_forward")
    with pytest.raises(ValueError, match=r"'carafe_forward' has no stand-in.*`make ops`.*MMCV_WITH_OPS=1 pip install"):
        ops.carafe_forward(1, group_size=2)
    with pytest.raises(AttributeError):
        _ = ops._carafe
