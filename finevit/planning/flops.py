"""FLOPs of a training step: two for every multiplication with its addition.

Counted by PyTorch's own counter, which sees each matrix product, convolution and attention as it is dispatched, in both
directions. A step therefore counts as what it is: no backward pass of a frozen tower, blocks that are computed a second time, the
forward pass of a teacher. The counted model has no storage, so nothing is computed and a large one costs as little as a small one.

fvcore counts a forward pass alone, operator by operator, of any library's model: what `make bench` sets beside the closed form.
"""

from copy import deepcopy
from math import prod
from typing import Any

from mmengine.model import BaseModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

PRODUCTS = frozenset({"linear", "addmm", "matmul", "bmm", "conv", "einsum", "scaled_dot_product_attention"})
"""Operators of fvcore that multiply with additions."""


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


def traced_flops(model: nn.Module, inputs: tuple) -> dict[str, float]:
    """FLOPs of the products in ``model(*inputs)`` by operator, counted by fvcore in a trace; norms and the like are left out."""
    from fvcore.nn import FlopCountAnalysis

    counted = FlopCountAnalysis(model.eval(), inputs)
    counted.set_op_handle("aten::scaled_dot_product_attention", _attention)
    counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    return {name: 2.0 * count for name, count in counted.by_operator().items() if name in PRODUCTS}


def _attention(inputs: list, outputs: list) -> float:
    """Multiplications of scaled_dot_product_attention, which fvcore leaves out: queries by keys, weights by values."""
    (*batch, queries, dim), (keys, _) = inputs[0].type().sizes(), inputs[1].type().sizes()[-2:]
    return 2.0 * prod(batch) * queries * keys * dim


def _count(model: BaseModel, batch: dict[str, Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
        model.parse_losses(losses)[0].backward()
    model.zero_grad()
    return counter.get_total_flops()
