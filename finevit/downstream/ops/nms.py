"""Non-maximum suppression as mmcv's C++ does it (mmcv/ops/csrc/pytorch/cpu/nms.cpp), to the last bit.

Boxes are (x1, y1, x2, y2), N x 4, float32; their sides are ``x2 - x1 + offset``. Soft-NMS is arXiv 1704.04503.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """The indices of the boxes that stay, by falling score."""
    if boxes.numel() == 0:
        return boxes.new_empty(0, dtype=torch.long)
    _need_float32("nms", boxes=boxes)
    order = scores.sort(0, descending=True).indices
    if offset:
        survivors = [leader for leader, _ in _groups(boxes[order], iou_threshold, offset, np.greater)]
        return order[torch.tensor(survivors, device=order.device)]
    # mmcv compares float with float, torchvision with the double it is given. Sorted scores keep their order in its stable sort.
    threshold = float(np.float32(iou_threshold))
    return order[torch.ops.torchvision.nms(boxes[order], scores[order].float(), threshold)]


@torch.no_grad()
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """For each box that stays, by falling score: its index, then the indices of those that it suppresses. ``dets``: N x 5."""
    _need_float32("nms_match", dets=dets)
    order = dets[:, 4].sort(0, descending=True).indices
    groups = _groups(dets[order, :4], iou_threshold, 0, np.greater_equal)
    return [order[[leader, *followers]].tolist() for leader, followers in groups]


@torch.no_grad()
def softnms(
    boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float, min_score: float, method: int, offset: int
) -> Tensor:
    """The indices that stay; writes the boxes with their lowered scores to the rows of ``dets``. Methods: ``_decay``."""
    if boxes.numel() == 0:
        return boxes.new_empty(0, dtype=torch.long)
    _need_float32("softnms", boxes=boxes, scores=scores, dets=dets)
    columns, areas = _columns(boxes, offset)
    score, rows, out = scores.numpy().copy(), np.arange(len(boxes)), dets.numpy()
    least, place = np.float32(min_score), 0
    while place < len(rows):
        best = place + int(score[rows[place:]].argmax())
        rows[[place, best]] = rows[[best, place]]
        leader, rest = rows[place], rows[place + 1 :]
        out[place] = [*columns[:, leader], score[leader]]
        score[rest] *= _decay(_ious(columns, areas, leader, rest, offset), method, np.float32(iou_threshold), np.float32(sigma))
        rows = np.concatenate([rows[: place + 1], _fill_gaps(rest, score[rest] < least)])
        place += 1
    return torch.from_numpy(rows)


@torch.no_grad()
def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Writes to ``ious`` the intersections over unions (mode 0) or over the first box's area (1), pairwise or all with all."""
    first = bboxes1 if aligned else bboxes1[:, None]
    corner, opposite = torch.max(first[..., :2], bboxes2[:, :2]), torch.min(first[..., 2:], bboxes2[:, 2:])
    overlap = (opposite - corner + offset).clamp(min=0).prod(-1)
    area = (first[..., 2:] - first[..., :2] + offset).prod(-1)
    if mode == 0:
        area = area + (bboxes2[:, 2:] - bboxes2[:, :2] + offset).prod(-1) - overlap
    ious.copy_(overlap / area)


def _groups(
    boxes: Tensor, threshold: float, offset: int, suppresses: Callable[[Floats, np.float32], NDArray[np.bool_]]
) -> Iterator[tuple[int, list[int]]]:
    """Each box that stays, and those that it suppresses. ``boxes`` are by falling score."""
    columns, areas = _columns(boxes, offset)
    rows = np.arange(len(boxes))
    with np.errstate(all="ignore"):
        while len(rows):
            gone = suppresses(_ious(columns, areas, rows[0], rows[1:], offset), np.float32(threshold))
            yield int(rows[0]), rows[1:][gone].tolist()
            rows = rows[1:][~gone]


def _columns(boxes: Tensor, offset: int) -> tuple[Floats, Floats]:
    """The coordinates, 4 x N, and the areas."""
    x1, y1, x2, y2 = columns = np.ascontiguousarray(boxes.cpu().numpy().T)
    return columns, (x2 - x1 + np.float32(offset)) * (y2 - y1 + np.float32(offset))


def _ious(columns: Floats, areas: Floats, one: int, others: NDArray[np.int64], offset: int) -> Floats:
    """Of box ``one`` with ``others``; every operation in mmcv's order, because each one rounds."""
    mine, theirs = columns[:, [one]], columns[:, others]
    corner = np.where(mine[:2] < theirs[:2], theirs[:2], mine[:2])  # std::max, also of NaN
    opposite = np.where(theirs[2:] < mine[2:], theirs[2:], mine[2:])
    sides = opposite - corner + np.float32(offset)
    width, height = np.where(sides > 0, sides, np.float32(0))
    inter = width * height
    with np.errstate(all="ignore"):
        return inter / (areas[one] + areas[others] - inter)


def _decay(ious: Floats, method: int, threshold: np.float32, sigma: np.float32) -> Floats:
    """The factors of the scores: 0, naive; 1, linear; 2, Gaussian, whose exponential is rounded once, as glibc does it."""
    if method == 2:
        return np.exp(np.float64(-(ious * ious) / sigma)).astype(np.float32)
    lowered = np.float32(1) - ious if method == 1 else np.zeros_like(ious)
    return np.where(ious >= threshold, lowered, np.float32(1))


def _fill_gaps(rows: NDArray[np.int64], dropped: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The rows that stay: mmcv puts the last row that stays in the place of the first that is dropped, and so on."""
    rows, count = rows.copy(), int((~dropped).sum())
    gaps = np.flatnonzero(dropped[:count])
    fillers = count + np.flatnonzero(~dropped[count:])
    rows[gaps] = rows[fillers[::-1]]
    return rows[:count]


def _need_float32(op: str, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise ValueError(f"{op}: {name} are {tensor.dtype}; mmcv's operation takes torch.float32, call {name}.float()")
