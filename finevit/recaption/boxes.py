"""Boxes against boxes: what overlaps, and how much."""

from collections.abc import Sequence

import numpy as np


def iou(one: Sequence[float], others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with each of ``others [n, 4]``, xyxy."""
    others = np.asarray(others, dtype=np.float64).reshape(-1, 4)
    box = np.asarray(one, dtype=np.float64)
    sides = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None)
    both = sides.prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - both
    return np.divide(both, areas, out=np.zeros_like(both), where=areas > 0)


def agreement(box: Sequence[float], found: Sequence[Sequence[float]]) -> float:
    """The best IoU of a box with those that were found; 0 where none was."""
    return float(iou(box, np.array(found)).max(initial=0.0)) if len(found) else 0.0


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the boxes that stay, best first: no two overlap by more than ``threshold``. Of equal scores the first wins."""
    order, stay = np.argsort(-np.asarray(scores), kind="stable"), []
    while len(order):
        best, order = order[0], order[1:]
        stay.append(best)
        order = order[iou(boxes[best], boxes[order]) <= threshold]
    return np.array(stay, dtype=np.int64)
