"""Boxes against boxes: overlaps, agreement and suppression are those of torchvision and of arithmetic."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou
from torchvision.ops import nms as reference

from finevit.recaption.boxes import agreement, iou, nms

RNG = np.random.default_rng(3)


def boxes(count):
    corners = np.sort(RNG.random((count, 2, 2)) * 0.5 + RNG.random((count, 1, 2)) * 0.5, axis=1)
    return corners.reshape(count, 4)


def test_overlaps_are_those_of_torchvision():
    one, others = boxes(1)[0], boxes(200)
    expected = box_iou(torch.tensor(one)[None], torch.tensor(others))[0].numpy()
    assert np.allclose(iou(one, others), expected)
    assert (expected > 0).sum() > 20
    assert iou((0, 0, 0, 0), np.array([[0, 0, 0, 0], [0, 0, 1, 1]])).tolist() == [0, 0], "no area, no overlap"


def test_agreement_is_the_best_overlap():
    assert agreement((0, 0, 0.5, 0.5), [(0.5, 0.5, 1, 1), (0, 0, 0.5, 1), (0, 0.25, 0.5, 0.75)]) == pytest.approx(0.5)
    assert agreement((0, 0, 0.5, 0.5), [(0, 0, 0.5, 0.5)]) == 1
    assert agreement((0, 0, 0.5, 0.5), []) == 0


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_suppression_is_that_of_torchvision(threshold):
    found, scores = boxes(300), RNG.permutation(300) / 300
    expected = reference(torch.tensor(found), torch.tensor(scores), threshold).numpy()
    assert nms(found, scores, threshold).tolist() == expected.tolist()
    assert 0 < len(expected) < 300


def test_of_equal_scores_the_first_stays():
    same = np.array([[0, 0, 1, 1]] * 3 + [[0, 0, 0.1, 0.1]])
    assert nms(same, np.array([0.5, 0.5, 0.5, 0.9]), 0.5).tolist() == [3, 0]
    assert nms(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
