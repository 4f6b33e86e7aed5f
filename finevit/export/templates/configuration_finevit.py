"""Settings of the FineViT encoder for Transformers."""

from typing import Any

from transformers import PretrainedConfig


class FineViTConfig(PretrainedConfig):
    """Sizes as in other vision models; ``pool`` is ``mean`` or ``attention``, ``rope_base`` counts in patches."""

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

    def encoder(self) -> dict[str, Any]:
        """The arguments of ``Encoder``."""
        sizes = {"depth": self.num_hidden_layers, "dim": self.hidden_size, "heads": self.num_attention_heads}
        rest = {"hidden": self.intermediate_size, "patch": self.patch_size, "pool": self.pool, "rope_theta": self.rope_base}
        return {**sizes, **rest}
