"""Optimiser wrappers that skip steps which are not finite, bfloat16 training that needs no loss scaling.

And the Muon optimiser, and learning rates that decay from layer to layer.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from finevit.precision import bfloat16_helps
from finevit.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS


@OPTIM_WRAPPERS.register_module()
class GuardedOptimWrapper(OptimWrapper):
    """MMEngine's wrapper; where the loss or the gradient of a step is not finite on any rank, that step changes nothing.

    Weights, optimiser states and the model's buffers stay as they are to the last bit, the gradients are dropped, and ``skipped``
    says so until the next step; ``NonFiniteHook`` reports it. With ``accumulative_counts`` an accumulation is one sum of gradients
    and is skipped as a whole; where it ends, and what follows, does not change.

    The backward pass runs in any case, so that all ranks take part in the same exchanges, and the host waits for the device once
    per optimiser step: for a flag on which the ranks agree. (MMEngine's reading of the gradient's norm waits there anyway.)
    """

    skipped = False
    _finite: Tensor | None = None
    _buffers: tuple[tuple[Tensor, Tensor], ...] = ()

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of forward passes, which may change buffers: running statistics."""
        self._buffers = self._buffers or tuple((buffer, buffer.clone()) for buffer in model.buffers())
        with super().optim_context(model):
            yield

    def update_params(self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None) -> None:
        """Backward and, where an accumulation ends, a step."""
        finite = loss.detach().isfinite()
        self._finite = finite if self._finite is None else self._finite & finite
        super().update_params(loss, step_kwargs, zero_kwargs)

    def step(self, **kwargs: dict) -> None:
        """The optimiser's step, unless it is to be skipped; then buffers get back what they held."""
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        finite = get_total_norm(gradients).isfinite()
        flag = (finite if self._finite is None else finite & self._finite).float()
        all_reduce(flag, "min")
        self.skipped = not bool(flag)
        if self.skipped:
            for buffer, before in self._buffers:
                buffer.copy_(before)
        else:
            super().step(**kwargs)
        self._finite, self._buffers = None, ()


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(GuardedOptimWrapper):
    """Runs the forward pass under bfloat16 autocast where the hardware has it; weights and optimiser states stay float32.

    MMEngine's ``AmpOptimWrapper`` refuses the CPU and scales losses, which bfloat16's range makes needless.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of forward passes."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16, enabled=bfloat16_helps()):
            yield


@OPTIMIZERS.register_module()
def TimmMuon(  # noqa: N802 - a registered name
    params: Iterable, *, lr: float, weight_decay: float = 0.0, momentum: float = 0.95, betas: tuple[float, float] = (0.9, 0.95)
) -> torch.optim.Optimizer:
    """timm's Muon: orthogonalised momentum for matrices, AdamW for vectors and where ``paramwise_cfg`` sets ``use_fallback=True``.

    One learning rate serves both: updates of matrices are scaled to the size of AdamW's. In minutes of training it learns from
    an image about twice what AdamW does (docs/lab_notebook.md). Its iteration runs in bfloat16 only where the hardware has it.
    """
    from finevit.engine.muon import Float32Muon, Muon

    kind = Muon if bfloat16_helps() else Float32Muon
    return kind(params, lr=lr, weight_decay=weight_decay, momentum=momentum, betas=betas, nesterov=True)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecay(DefaultOptimWrapperConstructor):
    """MMEngine's constructor; the learning rate of the backbone falls by ``layer_decay_rate`` from each block to the one below it.

    ``paramwise_cfg=dict(layer_decay_rate=0.8)``, besides all that MMEngine's constructor takes. Neck, heads and last norm keep the
    full rate, the last block has 0.8 of it, the one below 0.64, down to the patch embedding (as in BEiT and ViTDet).
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", is_dcn_module: int | float | None = None) -> None:
        """Adds the parameters of a module, and scales the rates once all of the model's are there."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        decay = self.paramwise_cfg.get("layer_decay_rate", 1.0)
        if not 0 < decay <= 1:
            raise ValueError(f"paramwise_cfg.layer_decay_rate={decay!r}: give a factor above 0 and at most 1")
        backbone: Any = getattr(module, "backbone", None)
        if not hasattr(backbone, "get_layer_depth"):
            raise ValueError("LayerDecay: the model has no backbone that knows its layers (get_layer_depth), as FineViT does")
        owner = getattr(backbone.get_layer_depth, "__self__", backbone)  # the encoder, where an adapter stands around it
        depths = {id(p): owner.get_layer_depth(name) for name, p in owner.named_parameters()}
        if decay < 1 and not any(layer < count - 1 for layer, count in depths.values()):
            first = next((name for name, _ in owner.named_parameters()), "none")
            raise ValueError(
                f"paramwise_cfg.layer_decay_rate={decay!r} would lower no rate: {type(owner).__name__}.get_layer_depth finds no "
                f"parameter, such as {first!r}, in a block; leave it out"
            )
        for group in params:
            (parameter,) = group["params"]
            if id(parameter) in depths:
                layer, count = depths[id(parameter)]
                group["lr"] = group.get("lr", self.base_lr) * decay ** (count - 1 - layer)
