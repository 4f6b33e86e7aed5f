"""Make ``mmcv_ops.npz``: inputs, and what mmcv's compiled operations for the CPU give for them.

    python tests/golden/make_mmcv_ops.py                       # with the mmcv that `make ops` installs
    python tests/golden/make_mmcv_ops.py --extension _ext.so   # with an extension of a part of mmcv's sources

The file says in ``made`` which versions it is from. It was made with an extension compiled (g++ 12.2, ``-O3 -std=c++20``) from
these files of onedl-mmcv 2.3.6, unchanged: in ``mmcv/ops/csrc/pytorch`` and its ``cpu``, nms.cpp, roi_align.cpp, deform_conv.cpp,
modulated_deform_conv.cpp, bbox_overlaps(_cpu).cpp, with those lines of pybind.cpp that bind them. mmcv has no focal losses, no
RoI pooling and no deformable attention for the CPU; the tests hold those against loops written from its CUDA kernels.
"""

import argparse
import importlib.util
import itertools
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

GENERATOR = torch.Generator().manual_seed(0)


def main() -> None:
    """Choose the extension, compute and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--extension", type=Path, help="a compiled mmcv._ext, perhaps of a part of its operations")
    extension = parser.parse_args().extension
    if extension:
        use(extension)
    sys.path.insert(0, str(Path(__file__).parent))
    import mmcv
    import mmcv_ops

    served = sys.modules["mmcv._ext"].__spec__
    if served is None or not str(served.origin).endswith(tuple(EXTENSION_SUFFIXES)):
        sys.exit(f"error: mmcv._ext is {served}, not a compiled one; run `make ops` or give --extension")
    cases = {
        f"{name}-{i}": mmcv_ops.Case(name, settings, inputs)
        for name in mmcv_ops.OPS
        for i, (settings, inputs) in enumerate(globals()[name]())
    }
    results = {name: mmcv_ops.compute(case) for name, case in cases.items()}
    part = "a part of its sources" if extension else "all of it"
    mmcv_ops.save(cases, results, f"onedl-mmcv {mmcv.__version__}, {part} compiled for torch {torch.__version__}, CPU")
    print(f"{len(cases)} cases, {mmcv_ops.FILE.stat().st_size} bytes in {mmcv_ops.FILE}")


def use(extension: Path) -> None:
    """Serve the file as ``mmcv._ext``; what it lacks raises when it is called."""
    spec = importlib.util.spec_from_file_location("_ext", extension)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__getattr__ = lambda name: None
    sys.modules["mmcv._ext"] = module


def normal(*shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.randn(shape, generator=GENERATOR, dtype=torch.float64) * scale).to(dtype)


def boxes(count: int, *, whole: bool = False) -> Tensor:
    """Around a few places; some are copies, some flat or inside out. Whole coordinates make overlaps that equal thresholds."""
    centres = torch.randint(0, 5, (count, 2), generator=GENERATOR) * 12.0 + normal(count, 2, scale=2)
    sides = 4 + 8 * torch.rand((count, 2), generator=GENERATOR)
    made = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    made[5:8] = made[2:5]
    made[8, 2] = made[8, 0]
    made[9, 3] = made[9, 1] - 2
    return made.round() if whole else made


def scores(count: int) -> Tensor:
    """Some are equal."""
    made = torch.rand(count, generator=GENERATOR)
    made[3:20:4] = made[3]
    return made


def dets(count: int, *, whole: bool = False) -> dict[str, Tensor]:
    return {"boxes": boxes(count, whole=whole), "scores": scores(count)}


def nms():
    for offset, threshold, whole in itertools.product((0, 1), (0.3, 0.5, 0.7), (False, True)):
        yield {"iou_threshold": threshold, "offset": offset}, dets(80, whole=whole)
    yield {"iou_threshold": 0.5, "score_threshold": 0.4}, dets(80)
    yield {"iou_threshold": 0.5, "max_num": 7}, dets(80)
    yield {"iou_threshold": 0.6, "offset": 1, "score_threshold": 0.2, "max_num": 11}, dets(80)
    yield {"iou_threshold": 0.1}, {"boxes": boxes(12) * 1e4, "scores": torch.ones(12)}
    yield {"iou_threshold": 0.5}, {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}
    yield {"iou_threshold": 0.5, "score_threshold": 2.0}, dets(12)


def soft_nms():
    for method, offset, whole in itertools.product(("naive", "linear", "gaussian"), (0, 1), (False, True)):
        yield {"method": method, "offset": offset, "iou_threshold": 0.3, "sigma": 0.5, "min_score": 1e-3}, dets(60, whole=whole)
    for method in ("naive", "linear", "gaussian"):
        yield {"method": method, "iou_threshold": 0.2, "sigma": 0.3, "min_score": 0.35}, dets(60)
    yield {"method": "linear"}, {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}


def batched_nms():
    soft = {"type": "soft_nms", "iou_threshold": 0.3, "min_score": 0.05}
    plain = ({"type": "nms", "iou_threshold": 0.5}, {"iou_threshold": 0.4, "split_thr": 10}, {"iou_threshold": 0.4, "max_num": 9})
    split = {"iou_threshold": 0.4, "max_num": 9, "split_thr": 10, "score_threshold": 0.2}
    for settings, agnostic in itertools.product((*plain, split, soft, {**soft, "split_thr": 10}, None), (False, True)):
        inputs = dets(50) | {"idxs": torch.randint(0, 4, (50,), generator=GENERATOR)}
        yield {"nms_cfg": settings, "class_agnostic": agnostic}, inputs


def nms_match():
    for threshold, whole in itertools.product((0.2, 0.5), (False, True)):
        yield {"iou_threshold": threshold}, {"dets": torch.cat([boxes(40, whole=whole), scores(40)[:, None]], 1)}


def bbox_overlaps():
    for mode, aligned, offset in itertools.product(("iou", "iof"), (False, True), (0, 1)):
        pair = {"bboxes1": boxes(12), "bboxes2": boxes(12)}
        yield {"mode": mode, "aligned": aligned, "offset": offset}, pair


ROIS = (
    (0, 2, 3, 14, 20),
    (1, 0, 0, 31, 23),
    (1, 9.5, 4.25, 9.5, 4.25),
    (0, 40, 30, 60, 50),
    (1, -20, -9, 5, 6),
    (0, 25, 2, 70, 60),
)
ROIS = (*ROIS, (0, 7.5, 8, 8.1, 8.3), (1, 6, 6, 22, 6), (0, -9, -9, -3, -4), (1, 0, 0, 8, 8))


def regions(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {"input": normal(2, 3, 12, 16, dtype=dtype), "rois": torch.tensor(ROIS, dtype=dtype)}


def roi_align():
    for mode, ratio, aligned in itertools.product(("avg", "max"), (0, 1, 2), (True, False)):
        common = {"spatial_scale": 0.5, "sampling_ratio": ratio, "pool_mode": mode, "aligned": aligned}
        yield {"output_size": (3, 2), **common}, regions()
    settings = {"output_size": (2, 4), "spatial_scale": 0.3, "sampling_ratio": 0, "aligned": True}
    for mode in ("avg", "max"):
        yield {**settings, "pool_mode": mode}, regions(torch.float16)
        yield {**settings, "pool_mode": mode, "spatial_scale": 0.5}, regions(torch.float64)
        yield {**settings, "pool_mode": mode}, {"input": normal(1, 2, 5, 5), "rois": torch.zeros(0, 5)}
    low = {"input": normal(1, 2, 6, 6, scale=2e4), "rois": torch.tensor([[0, 0.0, 0, 6, 6], [0, 1, 1, 2, 2]])}
    yield {**settings, "pool_mode": "max", "spatial_scale": 1.0}, low


def roi_align_argmax():
    for ratio, aligned in itertools.product((0, 1, 2), (True, False)):
        yield {"output_size": (3, 2), "spatial_scale": 0.5, "sampling_ratio": ratio, "aligned": aligned}, regions()


def geometries():
    keys = ("stride", "padding", "dilation", "groups", "deform_groups")
    for values in ((1, 1, 1, 1, 1), (2, 1, 1, 1, 2), (1, 2, 2, 2, 1), (2, 0, 1, 2, 2), ((1, 2), (2, 1), (2, 1), 1, 1)):
        yield dict(zip(keys, values, strict=True))


def convolution(settings: dict, spread: float, batch: int = 2, side: int = 3) -> dict[str, Tensor]:
    """Features, offsets (all 0 without ``spread``, of whole numbers if it is negative) and weights."""
    features = normal(batch, 4, 6, 5)
    ones = torch.ones(1, 1, side, side)
    plain = [settings[key] for key in ("stride", "padding", "dilation")]
    size = torch.nn.functional.conv2d(features[:, :1], ones, None, *plain).shape[2:]
    offset = normal(batch, settings["deform_groups"] * 2 * side**2, *size, scale=abs(spread))
    weight = normal(6, 4 // settings["groups"], side, side)
    return {"input": features, "offset": offset.round() if spread < 0 else offset, "weight": weight}


def deform_conv():
    for settings, spread in itertools.product(geometries(), (0.0, 1.0, -2.0)):
        yield {**settings, "bias": False, "im2col_step": 32}, convolution(settings, spread)
    yield {**settings, "bias": False, "im2col_step": 2}, convolution(settings, 1.0, batch=4)
    yield {**settings, "bias": False, "im2col_step": 32}, convolution(settings, 5.0, side=1)


def modulated_deform_conv():
    for (settings, spread), biased in itertools.product(itertools.product(geometries(), (0.0, 1.0, -2.0)), (False, True)):
        made = convolution(settings, spread)
        batch, channels, *size = made["offset"].shape
        mask = {"mask": torch.sigmoid(normal(batch, channels // 2, *size))}
        bias = {"bias": normal(6)} if biased else {}
        yield settings, {"input": made["input"], "offset": made["offset"]} | mask | {"weight": made["weight"]} | bias
    for settings in geometries():  # offsets and masks larger than the output, as mmdet's DyHead gives them
        made = convolution(settings, 1.0)
        batch, channels, height, width = made["offset"].shape
        offset, mask = (normal(batch, count, 2 * height, width + 1) for count in (channels, channels // 2))
        yield settings, {"input": made["input"], "offset": offset, "mask": torch.sigmoid(mask), "weight": made["weight"]}


if __name__ == "__main__":
    main()
