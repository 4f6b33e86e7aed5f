"""Layer-wise learning-rate decay for models of any OpenMMLab package that hold a FineViT as ``backbone``."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from finevit.registry import OPTIM_WRAPPER_CONSTRUCTORS


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
