"""The FineViT encoder for Transformers: ``AutoModel.from_pretrained(folder, trust_remote_code=True)``, and likewise
``AutoModelForImageClassification`` and ``AutoBackbone``.

All read ``pixel_values [batch, 3, height, width]``, of sides that are multiples of the patch, or with ``grids [images, 2]`` (rows
and columns, in patches) the patches ``[patches, 3 * patch * patch]`` of images of different sizes, one after the other.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BackboneOutput, BaseModelOutputWithPooling, ImageClassifierOutput

from .configuration_finevit import FineViTConfig
from .encoder_finevit import AttentionPool, Block, Encoder, softmax_attention
from .pipelines_finevit import FineViTClasses, FineViTFeatures

__all__ = ["FineViTBackbone", "FineViTClasses", "FineViTFeatures", "FineViTForImageClassification", "FineViTModel"]


class FineViTLayer(Block, GradientCheckpointingLayer):
    """A block that Transformers can compute again in the backward pass."""


class FineViTEncoder(Encoder):
    """The encoder of such blocks."""

    layer = FineViTLayer


class FineViTPreTrainedModel(PreTrainedModel):
    """What all models share."""

    config_class = FineViTConfig
    base_model_prefix = "finevit"
    main_input_name = "pixel_values"
    _no_split_modules = ["FineViTLayer"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def encode(self, encoder: Encoder, pixel_values: Tensor, grids: Tensor | None) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Tokens, pooled vectors and states, by the attention that the config names."""
        encoder.attend = softmax_attention if self.config._attn_implementation == "eager" else scaled_dot_product_attention
        pixel_values = pixel_values.to(encoder.embed.weight.dtype)
        if grids is None:
            return encoder.encode(pixel_values)
        return encoder.encode_packed(pixel_values, sizes(grids))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """New weights, where a model is made from a config: variance 1 / fan-in."""
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, AttentionPool | AttentivePool):
            nn.init.trunc_normal_(module.query, std=module.query.shape[-1] ** -0.5)
        elif isinstance(module, nn.MultiheadAttention):
            nn.init.trunc_normal_(module.in_proj_weight, std=module.embed_dim**-0.5)
            nn.init.zeros_(module.in_proj_bias)


class FineViTModel(FineViTPreTrainedModel):
    """The encoder alone."""

    def __init__(self, config: FineViTConfig) -> None:
        super().__init__(config)
        self.encoder = FineViTEncoder(**config.encoder())
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """What turns patches into vectors."""
        return self.encoder.embed

    def forward(
        self,
        pixel_values: Tensor,
        grids: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple:
        """``last_hidden_state`` is ``[batch, patches, dim]`` after the last norm, packed ``[patches, dim]``; ``pooler_output``
        ``[images, dim]``; ``hidden_states`` the embeddings and the output of every block, before any norm.
        """
        tokens, pooled, states = self.encode(self.encoder, pixel_values, grids)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        output = BaseModelOutputWithPooling(tokens, pooled, tuple(states) if wanted else None)
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return output if as_dict else output.to_tuple()


class FineViTBackbone(BackboneMixin, FineViTPreTrainedModel):
    """Maps of the blocks that ``out_indices`` or ``out_features`` name."""

    def __init__(self, config: FineViTConfig) -> None:
        super().__init__(config)
        self.num_features = [config.hidden_size] * (config.num_hidden_layers + 1)
        self.encoder = FineViTEncoder(**config.encoder())
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """What turns patches into vectors."""
        return self.encoder.embed

    def forward(  # type: ignore[override]
        self,
        pixel_values: Tensor,
        grids: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BackboneOutput | tuple:
        """``feature_maps``: ``[images, dim, rows, cols]`` each, through the last norm; where images differ in size, those of the
        largest rows and columns, 0 beyond an image. ``hidden_states`` as of ``FineViTModel``.
        """
        states = self.encode(self.encoder, pixel_values, grids)[2]
        grid = (pixel_values.shape[-2] // self.config.patch_size, pixel_values.shape[-1] // self.config.patch_size)
        chosen = [self.encoder.norm(states[self.stage_names.index(name)]) for name in self.out_features]
        maps = [y.transpose(1, 2).unflatten(2, grid) if grids is None else spread(y, sizes(grids)) for y in chosen]
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        output = BackboneOutput(tuple(maps), tuple(states) if wanted else None)  # type: ignore[arg-type]
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return output if as_dict else output.to_tuple()


class AttentivePool(nn.Module):
    """A learned query reads the tokens: ``[batch, tokens, dim]`` -> ``[batch, dim]``."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, 1, dim))
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.norm(tokens)
        return self.attention(self.query.expand(len(tokens), -1, -1), tokens, tokens, need_weights=False)[0][:, 0]


class FineViTForImageClassification(FineViTPreTrainedModel):
    """The encoder and a linear classifier on what ``config.classifier_pool`` makes of the tokens."""

    def __init__(self, config: FineViTConfig) -> None:
        super().__init__(config)
        if config.classifier_pool not in ("pool", "mean", "attentive"):
            raise ValueError(f"classifier_pool={config.classifier_pool!r}: give pool, mean or attentive")
        self.num_labels = config.num_labels
        self.finevit = FineViTModel(config)
        if config.classifier_pool == "attentive":
            self.attentive = AttentivePool(config.hidden_size, config.classifier_heads)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels) if config.num_labels else nn.Identity()
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        grids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ImageClassifierOutput | tuple:
        """``logits [images, num_labels]``, and the ``loss`` where ``labels`` are given."""
        outputs = self.finevit(pixel_values, grids, output_hidden_states, return_dict=True)
        logits = self.classifier(self._pooled(outputs, grids))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        output = ImageClassifierOutput(loss, logits, outputs.hidden_states)
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return output if as_dict else output.to_tuple()

    def _pooled(self, outputs: Any, grids: Tensor | None) -> Tensor:
        if self.config.classifier_pool == "pool":
            return outputs.pooler_output
        pool = self.attentive if self.config.classifier_pool == "attentive" else lambda tokens: tokens.mean(1)
        if grids is None:
            return pool(outputs.last_hidden_state)
        parts = outputs.last_hidden_state.split([rows * cols for rows, cols in sizes(grids)])
        return torch.cat([pool(part[None]) for part in parts])


def sizes(grids: Tensor) -> list[tuple[int, int]]:
    """Rows and columns of each image."""
    return [(rows, cols) for rows, cols in grids.tolist()]


def spread(tokens: Tensor, grids: list[tuple[int, int]]) -> Tensor:
    """``[patches, dim]`` of images one after the other -> ``[images, dim, rows, cols]`` of the largest, 0 beyond an image."""
    maps = tokens.new_zeros(len(grids), tokens.shape[1], *(max(sides) for sides in zip(*grids, strict=True)))
    for target, (rows, cols), part in zip(maps, grids, tokens.split([rows * cols for rows, cols in grids]), strict=True):
        target[:, :rows, :cols] = part.T.unflatten(1, (rows, cols))
    return maps
