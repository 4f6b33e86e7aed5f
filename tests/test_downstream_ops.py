"""The stand-ins for mmcv's compiled operations, against compiled mmcv's values; what they refuse."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.ops import roi_align

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
    with pytest.raises(ValueError, match=r"nms: boxes are torch.float64; mmcv's operation takes torch.float32, call boxes.float"):
        ops.nms(torch.zeros(1, 4, dtype=torch.float64), torch.zeros(1), iou_threshold=0.5, offset=0)


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
