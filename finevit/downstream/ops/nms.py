"""Non-maximum suppression as mmcv's C++ does it (mmcv/ops/csrc/pytorch/cpu/nms.cpp), to the last bit.

Boxes are (x1, y1, x2, y2), N x 4; their sides are ``x2 - x1 + offset``. mmcv takes float32 alone; other types are computed in
float32. Soft-NMS is arXiv 1704.04503. On CUDA, an overlap that equals the threshold to the last bit may fall on the other side:
mmcv's kernel multiplies there, torchvision's divides.
"""

import sys
from collections.abc import Callable, Iterator
from functools import wraps
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from numpy.typing import NDArray
from torch import Tensor

from finevit.downstream.ops.dtypes import single, wide

Floats = NDArray[np.float32]


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """The indices of the boxes that stay, by falling score."""
    if boxes.numel() == 0:
        return boxes.new_empty(0, dtype=torch.long)
    boxes, scores = single(boxes), single(scores)
    order = scores.sort(0, descending=True).indices
    if offset:
        survivors = [leader for leader, _ in _groups(boxes[order], iou_threshold, offset, np.greater)]
        return order[torch.tensor(survivors, device=order.device)]
    # mmcv compares float with float, torchvision with the double it is given. Sorted scores keep their order in its stable sort.
    threshold = float(np.float32(iou_threshold))
    return order[torch.ops.torchvision.nms(boxes[order], scores[order], threshold)]


@torch.no_grad()
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """For each box that stays, by falling score: its index, then the indices of those that it suppresses. ``dets``: N x 5."""
    dets = single(dets)
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
    table = np.concatenate([_table(single(boxes), offset), single(scores).numpy()[None]])
    rows, out = np.arange(len(boxes)), np.empty(dets.shape, np.float32)
    place = 0
    while place < len(rows):
        swap = [place, place + int(table[-1, place:].argmax())]
        table[:, swap], rows[swap] = table[:, swap[::-1]], rows[swap[::-1]]
        out[place] = table[[0, 1, 2, 3, -1], place]
        place += 1
        table[-1, place:] *= _decay(_ious(table[:, place - 1], table[:, place:], offset), method, iou_threshold, sigma)
        stay = _stay(table[-1, place:] < np.float32(min_score), place)
        if stay is not None:
            table, rows = table[:, stay], rows[stay]
    dets[:place] = torch.from_numpy(out[:place]).to(dets.dtype)
    return torch.from_numpy(rows)


@torch.no_grad()
def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Writes to ``ious`` the intersections over unions (mode 0) or over the first box's area (1), pairwise or all with all."""
    bboxes1, bboxes2 = wide(bboxes1), wide(bboxes2)
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
    table, rows = _table(boxes, offset), np.arange(len(boxes))
    while len(rows):
        gone = suppresses(_ious(table[:, 0], table[:, 1:], offset), np.float32(threshold))
        yield int(rows[0]), rows[1:][gone].tolist()
        table, rows = table[:, 1:], rows[1:]
        if gone.any():
            table, rows = table[:, ~gone], rows[~gone]


def _table(boxes: Tensor, offset: int) -> Floats:
    """The coordinates and the areas, 5 x N."""
    x1, y1, x2, y2 = boxes.cpu().numpy().T
    return np.stack([x1, y1, x2, y2, (x2 - x1 + np.float32(offset)) * (y2 - y1 + np.float32(offset))])


def _ious(one: Floats, others: Floats, offset: int) -> Floats:
    """Of a column of ``_table`` with other columns; every operation in mmcv's order, because each one rounds."""
    corner = np.maximum(one[:2, None], others[:2])
    opposite = np.minimum(one[2:4, None], others[2:4])
    with np.errstate(all="ignore"):
        width, height = np.fmax(opposite - corner + np.float32(offset), np.float32(0))
        inter = width * height
        return inter / (one[4] + others[4] - inter)


def _decay(ious: Floats, method: int, threshold: float, sigma: float) -> Floats:
    """The factors of the scores: 0, naive; 1, linear; 2, Gaussian, whose exponential is rounded once, as glibc does it."""
    if method == 2:
        return np.exp(np.float64(-(ious * ious) / np.float32(sigma))).astype(np.float32)
    lowered = np.float32(1) - ious if method == 1 else np.float32(0)
    return np.where(ious >= np.float32(threshold), lowered, np.float32(1))


def _stay(dropped: NDArray[np.bool_], place: int) -> NDArray[np.int64] | None:
    """The columns that stay, or ``None`` if all do, where those from ``place`` on are ``dropped`` or not.

    mmcv puts the last column that stays in the place of the first that is dropped, and so on.
    """
    count = len(dropped) - int(np.count_nonzero(dropped))
    if count == len(dropped):
        return None
    columns = np.arange(place + count)
    columns[place + np.flatnonzero(dropped[:count])] = place + count + np.flatnonzero(~dropped[count:])[::-1]
    return columns


def mend() -> None:
    """While ``mmcv.ops`` is imported, which asks for ``mmcv._ext``: its ``batched_nms`` then takes no boxes for what they are."""
    if "mmcv.ops" not in sys.modules:
        return
    module: Any = import_module("mmcv.ops.nms")
    theirs = module.batched_nms
    if hasattr(theirs, "__wrapped__"):
        return

    @wraps(theirs)
    def batched_nms(
        boxes: Tensor, scores: Tensor, idxs: Tensor, nms_cfg: dict | None, class_agnostic: bool = False
    ) -> tuple[Tensor, Tensor]:
        if len(boxes):
            return theirs(boxes, scores, idxs, nms_cfg, class_agnostic)
        return torch.cat([boxes, scores[:, None]], 1), torch.zeros(0, dtype=torch.long, device=boxes.device)

    module.batched_nms = batched_nms
