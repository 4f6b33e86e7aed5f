"""The stand-ins for mmcv's compiled operations, against loops written from its CUDA kernels."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention, roi_pool, sigmoid_focal_loss, softmax_focal_loss
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from torch.autograd import gradcheck

sys.path.insert(0, str(Path(__file__).parent / "golden"))
import mmcv_ops

FLOAT32_TINY = float(np.finfo(np.float32).tiny)
pytestmark = pytest.mark.usefixtures("stand_ins")


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def sigmoid_reference(logits, target, gamma, alpha, weight):
    """The CUDA kernel, a loop in float64: loss and gradient."""
    loss, grad = torch.zeros_like(logits), torch.zeros_like(logits)
    for n, c in np.ndindex(*logits.shape):
        p = 1 / (1 + math.exp(-float(logits[n, c])))
        log_p, log_q = math.log(max(p, FLOAT32_TINY)), math.log(max(1 - p, FLOAT32_TINY))
        if target[n] == c:
            loss[n, c] = -alpha * (1 - p) ** gamma * log_p
            grad[n, c] = -alpha * (1 - p) ** gamma * (1 - p - gamma * p * log_p)
        else:
            loss[n, c] = -(1 - alpha) * p**gamma * log_q
            grad[n, c] = -(1 - alpha) * p**gamma * (gamma * (1 - p) * log_q - p)
        scale = 1 if weight is None else weight[target[n]]
        loss[n, c] *= scale
        grad[n, c] *= scale
    return loss, grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, 0.6), (0.0, 0.5)])
def test_sigmoid_focal_loss_is_the_cuda_kernels(dtype, weighted, gamma, alpha):
    logits = normal(6, 4, dtype=dtype) * 3
    logits[0] = torch.tensor([60.0, -60, 0, 20])
    target = torch.tensor([0, 3, 1, 2, 0, 3] if weighted else [0, 3, 4, 2, 4, -1])  # 4 and -1: background
    weight = torch.tensor([0.5, 2.0, 1.0, 0.1], dtype=dtype) if weighted else None
    logits.requires_grad_()
    loss = sigmoid_focal_loss(logits, target, gamma, alpha, weight, "none")
    loss.sum().backward()
    expected, slope = sigmoid_reference(logits.detach().double(), target, gamma, alpha, weight)
    moderate = logits.detach().abs() < 15  # elsewhere 1 - p in float32 is 0 or coarse, on CUDA too
    for result, value in ((loss.detach(), expected), (logits.grad, slope)):
        chosen = slice(None) if dtype == torch.float64 else moderate
        torch.testing.assert_close(result.double()[chosen], value[chosen], rtol=1e-5, atol=1e-5)
    assert torch.isfinite(loss).all()


def test_sigmoid_focal_loss_by_hand():
    loss = sigmoid_focal_loss(torch.zeros(1, 2), torch.tensor([1]), 2.0, 0.25, None, "none")
    torch.testing.assert_close(loss, math.log(2) / 4 * torch.tensor([[0.75, 0.25]]))


@pytest.mark.parametrize("loss", [sigmoid_focal_loss, softmax_focal_loss])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradients_of_focal_losses_are_their_derivatives(loss, reduction):
    target, weight = torch.tensor([0, 2, 1, 1]), torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    logits = normal(4, 3).requires_grad_()
    assert gradcheck(lambda values: loss(values, target, 2.0, 0.25, weight, reduction), logits)


def test_softmax_focal_loss_is_the_cuda_kernels():
    logits, target = normal(5, 3), torch.tensor([0, 2, 1, -1, 1])
    loss = softmax_focal_loss(logits, target, 2.0, 0.3, None, "none")
    p = logits.softmax(1)
    expected = [-0.3 * (1 - p[n, t]) ** 2 * p[n, t].log() if t >= 0 else torch.tensor(0.0) for n, t in enumerate(target.tolist())]
    torch.testing.assert_close(loss, torch.stack([value.double() for value in expected]))
    ignored = logits.clone().requires_grad_()
    softmax_focal_loss(ignored, target, 2.0, 0.3, None, "sum").backward()
    assert ignored.grad[3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("loss", [sigmoid_focal_loss, softmax_focal_loss])
def test_focal_losses_in_half_precision_and_without_rows(loss):
    logits, target = normal(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    for dtype in (torch.float16, torch.bfloat16):
        result = loss(logits.to(dtype), target, 2.0, 0.25, None, "sum")
        assert result.dtype == dtype
        assert float(result) == pytest.approx(float(loss(logits, target, 2.0, 0.25, None, "sum")), rel=2e-2)
    assert float(loss(normal(0, 3), target[:0], 2.0, 0.25, None, "sum")) == 0


def test_focal_losses_refuse_labels_that_mmcv_reads_memory_beyond_its_tensors_for():
    logits = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="target 7 is larger than the number of classes, 3"):
        sigmoid_focal_loss(logits, torch.tensor([0, 7]), 2.0, 0.25, None, "sum")
    with pytest.raises(ValueError, match="weight has 3 entries for targets from 0 to 3"):
        sigmoid_focal_loss(logits, torch.tensor([0, 3]), 2.0, 0.25, torch.ones(3), "sum")


def pool_reference(features, rois, size, scale):
    """The CUDA kernel, a loop: output and the place of each maximum."""
    output = torch.zeros(len(rois), features.shape[1], *size)
    argmax = torch.zeros_like(output, dtype=torch.int)
    for n, c, i, j in np.ndindex(*output.shape):
        image, *box = rois[n].tolist()
        x1, y1, x2, y2 = box[0] * scale, box[1] * scale, (box[2] + 1) * scale, (box[3] + 1) * scale
        if x2 <= x1 or y2 <= y1:
            continue
        height, width = (y2 - y1) / size[0], (x2 - x1) / size[1]
        rows = range(max(math.floor(i * height + y1), 0), min(math.ceil((i + 1) * height + y1), features.shape[2]))
        columns = range(max(math.floor(j * width + x1), 0), min(math.ceil((j + 1) * width + x1), features.shape[3]))
        values = {y * features.shape[3] + x: float(features[int(image), c, y, x]) for y in rows for x in columns}
        argmax[n, c, i, j] = best = max(values, key=values.get, default=-1)
        output[n, c, i, j] = values.get(best, 0)
    return output, argmax


def test_roi_pooling_is_the_cuda_kernels():
    features = normal(2, 3, 9, 12, dtype=torch.float32).requires_grad_()
    boxes = [(0, 0, 0, 23, 17), (1, 3, 5, 15, 6), (1, 20, 10, 60, 40), (0, 50, 50, 60, 60), (0, 8, 8, 2, 2), (1, -9, -9, 4, 4)]
    rois = torch.tensor(boxes, dtype=torch.float32)
    output = roi_pool(features, rois, (3, 2), 0.5)
    expected, argmax = pool_reference(features.detach(), rois, (3, 2), 0.5)
    assert torch.equal(output, expected)
    weights = mmcv_ops.ramp(output)
    (output * weights).sum().backward()
    grad = torch.zeros_like(features)
    for n, c, i, j in np.ndindex(*expected.shape):
        if argmax[n, c, i, j] >= 0:  # the box inside out sends its gradient to pixel 0, as in mmcv
            grad[int(rois[n, 0]), c].view(-1)[argmax[n, c, i, j]] += weights[n, c, i, j]
    torch.testing.assert_close(features.grad, grad)


def attention_inputs():
    shapes = torch.tensor([[4, 6], [2, 3]])
    value = normal(2, 30, 2, 3)
    locations = torch.rand(2, 5, 2, 2, 4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1.4 - 0.2
    return value, shapes, torch.tensor([0, 24]), locations, normal(2, 5, 2, 2, 4, seed=2).softmax(-1)


def attention_reference(value, shapes, starts, locations, weights):
    """The CUDA kernel, a loop."""
    output = value.new_zeros(len(value), locations.shape[1], *value.shape[2:])
    for b, q, m, level, point in np.ndindex(*locations.shape[:5]):
        height, width = shapes[level].tolist()
        x, y = (float(v) for v in locations[b, q, m, level, point] * torch.tensor([width, height]) - 0.5)
        for row, column in ((math.floor(y) + i, math.floor(x) + j) for i in (0, 1) for j in (0, 1)):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(y - row)) * (1 - abs(x - column)) * weights[b, q, m, level, point]
                output[b, q, m] += share * value[b, int(starts[level]) + row * width + column, m]
    return output.flatten(2)


def test_deformable_attention_is_the_cuda_kernels():
    inputs = attention_inputs()
    output = MultiScaleDeformableAttnFunction.apply(*inputs, 64)
    torch.testing.assert_close(output, attention_reference(*inputs))
    value, shapes, starts, *rest = inputs
    leaves = [tensor.requires_grad_() for tensor in (value, *rest)]
    assert gradcheck(lambda v, *other: MultiScaleDeformableAttnFunction.apply(v, shapes, starts, *other, 64), leaves)
    assert MultiScaleDeformableAttention(embed_dims=8, num_heads=2).im2col_step == 64
