"""Settings of the FineViT encoder for Transformers."""

from typing import Any

from transformers import PretrainedConfig
from transformers.backbone_utils import BackboneConfigMixin


class FineViTConfig(BackboneConfigMixin, PretrainedConfig):
    """Sizes as in other vision models; ``pool`` is ``mean`` or ``attention``, ``rope_base`` counts in patches.

    ``classifier_pool`` is what a classifier reads: ``pool``, the encoder's own, ``mean``, the mean of the tokens, or ``attentive``,
    a learned query of ``classifier_heads`` heads. ``out_indices`` and ``out_features`` choose the maps of a backbone, of ``stem``,
    ``stage1``, ..., one for each block.
    """

    model_type = "finevit"

    num_hidden_layers: int = 28
    hidden_size: int = 1536
    num_attention_heads: int = 16
    intermediate_size: int = 4608
    patch_size: int = 14
    num_channels: int = 3
    image_size: int = 448
    pool: str = "mean"
    rope_base: float = 100.0
    classifier_pool: str = "pool"
    classifier_heads: int = 16
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.stage_names = ["stem", *(f"stage{block}" for block in range(1, self.num_hidden_layers + 1))]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
        super().__post_init__(**kwargs)

    def encoder(self) -> dict[str, Any]:
        """The arguments of ``Encoder``."""
        sizes = {"depth": self.num_hidden_layers, "dim": self.hidden_size, "heads": self.num_attention_heads}
        rest = {"mlp_dim": self.intermediate_size, "patch": self.patch_size, "pool": self.pool, "rope_theta": self.rope_base}
        return {**sizes, **rest}
