"""bfloat16 training that needs no loss scaling, on any device; the Muon optimiser."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from finevit.precision import bfloat16_helps
from finevit.registry import OPTIM_WRAPPERS, OPTIMIZERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
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
    an image about twice what AdamW does (docs/performance.md).
    """
    from timm.optim import Muon

    return Muon(params, lr=lr, weight_decay=weight_decay, momentum=momentum, betas=betas, nesterov=True)
