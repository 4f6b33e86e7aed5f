"""``mmcv.ops.batched_nms`` of no boxes: mmcv asks for their largest coordinate, which there is none of, before it asks for us."""

import sys
from functools import wraps
from importlib import import_module
from typing import Any

import torch
from torch import Tensor


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
