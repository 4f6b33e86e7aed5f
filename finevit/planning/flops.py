"""FLOPs of a training step: two for every multiplication with its addition.

Counted by PyTorch's own counter, which sees each matrix product, convolution and attention as it is dispatched, in both
directions. A step therefore counts as what it is: no backward pass of a frozen tower, blocks that are computed a second time, the
forward pass of a teacher. (fvcore traces the forward pass alone, and would be told all that by rules of thumb.) The counted model
has no storage, so nothing is computed and a large one costs as little as a small one.
"""

from copy import deepcopy
from typing import Any

from mmengine.model import BaseModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def step_flops(model: BaseModel, batch: dict[str, Any]) -> int:
    """FLOPs of a step of ``model``, forward and backward, on a batch of the loader.

    A model that asks for values of its tensors cannot do without storage; such a one is run on its own device.
    """
    try:
        return _count(_without_storage(model), batch)
    except (NotImplementedError, RuntimeError):
        return _count(model, batch)


def _without_storage(model: BaseModel) -> BaseModel:
    """A copy on the device ``meta``; parameters, a teacher's too, are not copied before."""
    modules = [model, *(value for value in vars(model).values() if isinstance(value, nn.Module))]
    parameters = [parameter for module in modules for parameter in module.parameters()]
    memo = {id(each): nn.Parameter(each.to("meta"), requires_grad=each.requires_grad) for each in parameters}
    return deepcopy(model, memo).to("meta")


def _count(model: BaseModel, batch: dict[str, Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
        model.parse_losses(losses)[0].backward()
    model.zero_grad()
    return counter.get_total_flops()
