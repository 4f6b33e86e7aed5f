"""The model itself, whatever wraps it for distributed training."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> Any:
    """The model inside of MMEngine's wrapper, or the model."""
    return model.module if is_model_wrapper(model) else model
