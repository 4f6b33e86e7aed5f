"""Whether a detector's heads are set for the strides that backbone and neck have: mmdet trains with any, to half of the AP.

What a neck makes of the backbone's maps is measured on maps without memory, so that it may be anybody's. Heads of the DETR family
and of mmseg have no strides.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from math import isclose
from typing import Any, NamedTuple, NoReturn

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from finevit.backbones import FineViT
from finevit.downstream.necks import SimpleFPN
from finevit.registry import HOOKS
from finevit.unwrap import unwrapped

CELLS = 64
"""Side of the maps on which a neck is measured: halved six times, it is whole."""
LISTS = ("point_strides", "anchor_strides", "featmap_strides", "strides")
"""What modules of mmdet's heads call the strides that they are set for; RepPoints has more than one, of which the first counts."""
Maps = Sequence[Tensor]


class Claim(NamedTuple):
    """A ``setting`` of a head, the strides that it is ``told`` and those of the maps that it gets; whether it reads the ``whole``
    of them, or but the first."""

    setting: str
    told: Sequence[float]
    true: Sequence[float]
    whole: bool

    def fits(self) -> bool:
        """Whether as many strides as needed are told, and all are true."""
        counts = len(self.told) == len(self.true) if self.whole else len(self.told) <= len(self.true)
        return counts and all(map(_same, self.told, self.true))


@HOOKS.register_module()
class StrideHook(Hook):
    """Checks strides before a run of another program; ``finevit train`` does so without it."""

    def before_run(self, runner: Runner) -> None:
        check_strides(runner.model)


def check_strides(model: nn.Module) -> None:
    """``ValueError`` names the settings of heads that do not fit the strides of the backbone and neck before them."""
    for path, part in unwrapped(model).named_modules():
        encoder = _encoder(part)
        maps = None if encoder is None else _maps(part, encoder)
        if encoder is None or maps is None:
            continue
        extent, place = CELLS * encoder.patch, f"model.{path}." if path else "model."
        claims = [Claim(place + where, told, _strides(seen, extent), whole) for where, told, seen, whole in _told(part, maps)]
        if faults := [claim for claim in claims if not claim.fits()]:
            _refuse(faults, _strides(maps, extent), getattr(part, "neck", None), encoder.patch)


def _encoder(part: nn.Module) -> FineViT | None:
    """The backbone of a part of the model, also within mmpretrain's adapters."""
    backbone = getattr(part, "backbone", None)
    found = [each for each in (backbone, getattr(backbone, "module", None)) if isinstance(each, FineViT)]
    return found[0] if found else None


def _maps(part: nn.Module, encoder: FineViT) -> Maps | None:
    """The maps that the heads get, without numbers where the neck can do without; None where that cannot be known."""
    neck = getattr(part, "neck", None)
    for device in ("meta", encoder.embed.weight.device):
        maps = tuple(torch.zeros(1, encoder.dim, CELLS, CELLS, device=device) for _ in encoder.strides)
        try:
            maps = maps if neck is None else _through(deepcopy(neck).to(device), maps)
        except Exception:  # not every operation works without numbers, nor every neck on these maps: training will tell
            continue
        if isinstance(maps, Sequence) and all(isinstance(each, Tensor) and each.ndim == 4 for each in maps):
            return maps
    return None


@torch.no_grad()
def _through(neck: nn.Module, maps: Maps) -> Any:
    neck.eval()
    return neck(maps)


def _told(part: nn.Module, maps: Maps) -> Iterator[tuple[str, list[float], Maps, bool]]:
    """Of each module of the heads: the setting of its strides, these, the maps that it gets, and whether it reads all of them."""
    for name, head in part.named_children():
        for path, module in head.named_modules(prefix=name) if name.endswith("head") else ():
            if "pixel_decoder" in path:  # multiplies by its strides and divides again
                continue
            seen = _seen(path, module, head, maps)
            if isinstance(stride := getattr(module, "mask_stride", None), int) and hasattr(module, "start_level"):
                yield f"{path}.mask_stride", [stride], seen[module.start_level :], False
            for setting, strides in list(_lists(module))[:1]:
                dense = any(kind.__name__ == "BaseDenseHead" for kind in type(module).__mro__)
                yield f"{path}.{setting}", strides, seen, dense


def _seen(path: str, module: Any, head: Any, maps: Maps) -> Maps:
    """The maps that a module of a head gets: some resize the neck's (SOLO), or read one joined of them (Hybrid Task Cascade)."""
    if hasattr(module, "resize_feats"):
        return module.resize_feats(maps)
    return maps[head.semantic_head.fusion_level :] if path.endswith("semantic_roi_extractor") else maps


def _lists(module: nn.Module) -> Iterator[tuple[str, list[float]]]:
    """Every setting of a module that is a list of strides, or an object with one, such as an anchor generator."""
    for name in LISTS:
        if (strides := _sides(vars(module).get(name))) is not None:
            yield name, strides
    for name, value in vars(module).items():
        if not name.startswith("_") and (strides := _sides(getattr(value, "strides", None))) is not None:
            yield f"{name.replace('prior_', 'anchor_')}.strides", strides


def _sides(strides: Any) -> list[float] | None:
    """Numbers, or pairs of the same number twice, as numbers; None for anything else."""
    if not isinstance(strides, list | tuple) or not strides:
        return None
    sides = [side[0] if isinstance(side, list | tuple) and side else side for side in strides]
    return list(sides) if all(isinstance(side, int | float) for side in sides) else None


def _strides(maps: Maps, extent: int) -> list[float]:
    """Pixels that the cells of maps of an image of ``extent`` pixels are wide."""
    return [extent / each.shape[-1] for each in maps]


def _same(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=1e-3)


def _refuse(faults: Sequence[Claim], levels: Sequence[float], neck: Any, patch: int) -> NoReturn:
    """Raises the error with what would mend it."""
    lines = [f"{claim.setting}={_numbers(claim.told)}, where its maps have {_numbers(claim.true)}" for claim in faults]
    head = f"backbone and neck give maps of strides {_numbers(levels)} pixels, for which heads are not set:"
    ratios = [told / true for claim in faults for told, true in zip(claim.told, claim.true, strict=False)]
    alike = isinstance(neck, SimpleFPN) and all(_same(ratio, ratios[0]) and not _same(ratio, 1) for ratio in ratios)
    remedy = _resampling(neck, patch, ratios[0]) if alike else "change the neck"
    raise ValueError("\n  ".join([head, *lines]) + f"\n{remedy}, or set these to the strides of their maps")


def _resampling(neck: SimpleFPN, patch: int, ratio: float) -> str:
    """What has the pyramid's strides grow by a ratio."""
    before, after = neck.resample or (1, 1)
    cell = patch * ratio * after / before
    if _same(cell, patch):
        return "leave model.neck.resample out"
    return f"set model.neck.resample=({patch}, {round(cell)})" if _same(cell, round(cell)) else "change the neck"


def _numbers(strides: Sequence[float]) -> str:
    return f"[{', '.join(f'{stride:g}' for stride in strides)}]"
