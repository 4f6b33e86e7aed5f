"""What ``mmcv_ops.npz`` holds, and how a case of it is computed through the public functions of ``mmcv.ops``.

An operation's function takes the case's inputs, tensors, and its settings. It gives the outputs, then the gradients of the sum of
``output * weights`` in those inputs that have one; the weights are the fixed ``ramp`` below.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mmcv.ops
import numpy as np
import torch
from torch import Tensor

FILE = Path(__file__).with_name("mmcv_ops.npz")


class Case(NamedTuple):
    """One call."""

    op: str
    settings: dict[str, Any]
    inputs: dict[str, Tensor]


def compute(case: Case) -> list[np.ndarray]:
    """The outputs and gradients of the case, by whatever serves as ``mmcv._ext``."""
    results = OPS[case.op](dict(case.inputs), dict(case.settings))
    return [np.asarray(result.detach() if isinstance(result, Tensor) else result) for result in results]


def save(cases: dict[str, Case], results: dict[str, list[np.ndarray]], made: str) -> None:
    """Write the file; ``made`` says by what."""
    arrays = {f"{name}/in/{key}": value.numpy() for name, case in cases.items() for key, value in case.inputs.items()}
    arrays |= {f"{name}/out/{i}": value for name, values in results.items() for i, value in enumerate(values)}
    kinds = {name: (case.op, case.settings) for name, case in cases.items()}
    np.savez_compressed(FILE, made=made, cases=json.dumps(kinds), **arrays)


def load() -> Iterator[tuple[str, Case, list[np.ndarray]]]:
    """Each case's name, the case, and what compiled mmcv made of it."""
    with np.load(FILE) as file:
        arrays = dict(file)
    for name, (op, settings) in json.loads(str(arrays["cases"])).items():
        start = f"{name}/in/"
        inputs = {key.removeprefix(start): torch.from_numpy(value) for key, value in arrays.items() if key.startswith(start)}
        count = sum(key.startswith(f"{name}/out/") for key in arrays)
        yield name, Case(op, settings, inputs), [arrays[f"{name}/out/{i}"] for i in range(count)]


def ramp(like: Tensor) -> Tensor:
    """Fixed weights from -1 to 1 in no order."""
    return torch.sin(torch.arange(like.numel(), dtype=torch.float64) * 12.9898).to(like.dtype).view(like.shape)


def with_gradients(function: Callable[..., Tensor], tensors: dict[str, Tensor], *fixed: Any) -> list[Tensor]:
    """``function`` of the tensors and of what is fixed, and its gradients in the tensors."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors.values()]
    output = function(*leaves, *fixed)
    (output * ramp(output)).sum().backward()
    return [output, *(leaf.grad for leaf in leaves)]


def nms(inputs: dict[str, Tensor], settings: dict[str, Any]) -> list[Any]:
    """Boxes with scores, and indices."""
    return list(mmcv.ops.nms(**inputs, **settings))


def soft_nms(inputs: dict[str, Tensor], settings: dict[str, Any]) -> list[Any]:
    """Boxes with lowered scores, and indices."""
    return list(mmcv.ops.soft_nms(**inputs, **settings))


def batched_nms(inputs: dict[str, Tensor], settings: dict[str, Any]) -> list[Any]:
    """Boxes with scores, and indices."""
    return list(mmcv.ops.batched_nms(**inputs, **settings))


def nms_match(inputs: dict[str, Tensor], settings: dict[str, Any]) -> list[Any]:
    """Each group's indices."""
    return mmcv.ops.nms_match(**inputs, **settings)


def bbox_overlaps(inputs: dict[str, Tensor], settings: dict[str, Any]) -> list[Any]:
    """The matrix, or its diagonal."""
    return [mmcv.ops.bbox_overlaps(**inputs, **settings)]


def roi_align(inputs: dict[str, Tensor], settings: dict[str, Any]) -> list[Any]:
    """Output and the gradient in the features."""
    order = ("output_size", "spatial_scale", "sampling_ratio", "pool_mode", "aligned")
    return with_gradients(mmcv.ops.roi_align, {"input": inputs["input"]}, inputs["rois"], *(settings[key] for key in order))


def roi_align_argmax(inputs: dict[str, Tensor], settings: dict[str, Any]) -> list[Any]:
    """Where the maxima lie, y and x, as ``mmcv._ext`` writes them."""
    from mmcv.ops.roi_align import ext_module

    size = settings.pop("output_size")
    shape = (len(inputs["rois"]), inputs["input"].shape[1], *size)
    output, y, x = (inputs["input"].new_zeros(shape) for _ in range(3))
    settings |= {"aligned_height": size[0], "aligned_width": size[1], "pool_mode": 0}
    ext_module.roi_align_forward(inputs["input"], inputs["rois"], output, y, x, **settings)
    return [y, x]


def deform_conv(inputs: dict[str, Tensor], settings: dict[str, Any]) -> list[Any]:
    """Output and the gradients in input, offset and weight."""
    order = ("stride", "padding", "dilation", "groups", "deform_groups", "bias", "im2col_step")
    return with_gradients(mmcv.ops.deform_conv2d, inputs, *(settings[key] for key in order))


def modulated_deform_conv(inputs: dict[str, Tensor], settings: dict[str, Any]) -> list[Any]:
    """Output and the gradients in input, offset, mask, weight and, if there is one, bias."""
    order = ("stride", "padding", "dilation", "groups", "deform_groups")
    missing = [None] * ("bias" not in inputs)
    return with_gradients(mmcv.ops.modulated_deform_conv2d, inputs, *missing, *(settings[key] for key in order))


OPS: dict[str, Callable[[dict[str, Tensor], dict[str, Any]], list[Any]]] = {
    function.__name__: function
    for function in (
        nms,
        soft_nms,
        batched_nms,
        nms_match,
        bbox_overlaps,
        roi_align,
        roi_align_argmax,
        deform_conv,
        modulated_deform_conv,
    )
}
