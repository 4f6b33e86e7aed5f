"""Stands in for ``mmcv._ext``, the compiled operations of mmcv, through PyTorch and torchvision, on CPU and CUDA.

mmdet and mmseg import ``mmcv.ops``, which needs ``mmcv._ext``, which takes 40 minutes of processor time to compile. The functions
here have its names, arguments and tensors that are written in place. ``finevit.downstream.finder`` serves them where
no compiled module is; ``python -m finevit.downstream.ops`` does it for programs that do not import ``finevit``.
"""

from collections.abc import Callable
from typing import NoReturn

from finevit.downstream.ops.attention import ms_deform_attn_backward, ms_deform_attn_forward
from finevit.downstream.ops.deform import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from finevit.downstream.ops.focal import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from finevit.downstream.ops.nms import bbox_overlaps, nms, nms_match, softnms
from finevit.downstream.ops.roi_align import roi_align_backward, roi_align_forward
from finevit.downstream.ops.roi_pool import roi_pool_backward, roi_pool_forward


def missing(name: str) -> Callable[..., NoReturn]:
    """A function in the place of mmcv's compiled ``name``. Calling it raises ``ValueError``."""

    def unavailable(*_arguments: object, **_settings: object) -> NoReturn:
        raise ValueError(
            f"mmcv was installed without its compiled operations, and {name!r} has no stand-in in finevit.downstream.ops; "
            "compile them: `make ops` in a checkout of finevit, or `MMCV_WITH_OPS=1 pip install --no-build-isolation "
            "--force-reinstall --no-deps --no-binary onedl-mmcv onedl-mmcv`, which fails where PyTorch needs a newer C++ "
            "standard than mmcv's setup.py asks for (`make ops` raises it)"
        )

    unavailable.__name__ = unavailable.__qualname__ = name
    return unavailable


__all__ = [
    "bbox_overlaps",
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "get_compiler_version",
    "get_compiling_cuda_version",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
    "ms_deform_attn_backward",
    "ms_deform_attn_forward",
    "nms",
    "nms_match",
    "roi_align_backward",
    "roi_align_forward",
    "roi_pool_backward",
    "roi_pool_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softmax_focal_loss_backward",
    "softmax_focal_loss_forward",
    "softnms",
]


def get_compiler_version() -> str:
    """For mmcv's report on the environment."""
    return "none: finevit.downstream.ops"


def get_compiling_cuda_version() -> str:
    """As mmcv says it without CUDA."""
    return "not available"


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """Whatever else mmcv asks for."""
    if name.startswith("_"):
        raise AttributeError(name)
    return missing(name)
