"""The FineViT encoder for Transformers: ``AutoModel.from_pretrained(folder, trust_remote_code=True)``."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .configuration_finevit import FineViTConfig
from .encoder_finevit import AttentionPool, Encoder


class FineViTModel(PreTrainedModel):
    """Images of any size that is a multiple of the patch, as a batch of one size or packed."""

    config_class = FineViTConfig
    base_model_prefix = "finevit"
    main_input_name = "pixel_values"
    _no_split_modules = ["Block"]

    def __init__(self, config: FineViTConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(**config.encoder())
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
        """``pixel_values [batch, 3, height, width]``, or with ``grids [images, 2]`` (rows and columns, in patches) the patches
        ``[patches, 3 * patch * patch]`` of images of different sizes, one after the other.

        ``last_hidden_state`` is ``[batch, patches, dim]`` after the last norm, packed ``[patches, dim]``; ``pooler_output``
        ``[images, dim]``; ``hidden_states`` the embeddings and the output of every block, before any norm.
        """
        pixel_values = pixel_values.to(self.encoder.embed.weight.dtype)
        if grids is None:
            tokens, pooled, states = self.encoder.encode(pixel_values)
        else:
            tokens, pooled, states = self.encoder.encode_packed(pixel_values, [(row, col) for row, col in grids.tolist()])
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        output = BaseModelOutputWithPooling(tokens, pooled, tuple(states) if wanted else None)
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return output if as_dict else output.to_tuple()

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
        elif isinstance(module, AttentionPool):
            nn.init.trunc_normal_(module.query, std=module.query.shape[-1] ** -0.5)
