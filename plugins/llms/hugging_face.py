"""Any Hugging Face causal language model as the alignment LLM: Qwen3, Llama, SmolLM2, Gemma (paper, Stage III: a Qwen3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from finevit.contracts import AlignmentLLM, PackedDialogues
from finevit.locate import find_model, first_line
from finevit.ops.dialogues import packed, padded, readable
from finevit.tokenizers import load_backend

TRAINED = ("full", "lora", "frozen")


class HuggingFaceLLM(AlignmentLLM):
    """A causal model of Hugging Face, loaded by name or folder, or drawn at random for a config.

    Args:
        model: hub name, folder, or ``smollm2-135m`` (which pip brings).
        config: instead of ``model``: ``model_type`` and what differs from its defaults; the tokenizer says the vocabulary.
        tokenizer: name or folder of the tokenizer with its chat template; empty takes the model's own.
        train: what of it is trained: ``full``, ``lora`` (adapters alone) or ``frozen``.
        lora: arguments of peft's ``LoraConfig``; by default rank 16 on all linear layers.
        context: the most positions of a dialogue; None is what the model was made for.
        recompute: trade compute for memory by recomputing every block in the backward pass.
    """

    def __init__(
        self,
        *,
        model: str = "",
        config: Mapping[str, Any] | None = None,
        tokenizer: str = "",
        train: str = "full",
        lora: Mapping[str, Any] | None = None,
        context: int | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if bool(model) == bool(config):
            raise ValueError("model.llm: give either model (a hub name or folder), or config with a model_type and a tokenizer")
        if train not in TRAINED:
            raise ValueError(f"model.llm.train={train!r}: choose one of {', '.join(TRAINED)}")
        if lora and train != "lora":
            raise ValueError(f"model.llm.lora is of no use with train={train!r}: set model.llm.train=lora, or leave it out")
        if config and not tokenizer:
            raise ValueError(
                "model.llm.tokenizer is not set: a model drawn for a config brings none; name one, such as scenes-chat"
            )
        self.name, self.tokenizer, self.trained = model or f"a {(config or {}).get('model_type')} config", tokenizer or model, train
        self.model = _load(model) if model else _draw(dict(config or {}), self.tokenizer)
        self.dim = int(self.model.get_input_embeddings().embedding_dim)
        longest = int(getattr(self.model.config, "max_position_embeddings", 0) or 2048)
        self.context = context or longest
        if self.context > longest:
            raise ValueError(f"model.llm.context={context}: {self.name} was made for {longest} positions")
        if recompute:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self._choose(train, lora)

    def embed(self, tokens: Tensor) -> Tensor:
        """``[text]`` token ids -> ``[text, dim]``."""
        return self.model.get_input_embeddings()(tokens)

    def forward(self, embeddings: Tensor, dialogues: PackedDialogues) -> Tensor:
        """``[text, dim]`` -> ``[text, dim]``, as the contract says; inside, a batch padded to the longest image's dialogue."""
        output = self.model.base_model(
            inputs_embeds=padded(embeddings, dialogues),
            attention_mask=self._masks(dialogues),
            position_ids=padded(dialogues.places, dialogues),
            use_cache=False,
        )
        return packed(output.last_hidden_state, dialogues)

    def logits(self, hidden: Tensor) -> Tensor:
        """``[n, dim]`` -> ``[n, vocab]``."""
        logits = self.model.get_output_embeddings()(hidden)
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if not cap else cap * torch.tanh(logits / cap)

    def generate(self, prompts: Sequence[Tensor], *, most: int, stop: int) -> list[list[int]]:
        """Greedy answers by Hugging Face's own generation, with its cache."""
        from transformers import GenerationConfig

        lengths = torch.tensor([len(prompt) for prompt in prompts])
        batch = nn.utils.rnn.pad_sequence([prompt.flip(0) for prompt in prompts], batch_first=True).flip(1)
        mask = torch.arange(batch.shape[1]) >= batch.shape[1] - lengths[:, None]
        greedy = GenerationConfig(max_new_tokens=most, do_sample=False, eos_token_id=stop, pad_token_id=stop)
        rows = self.model.generate(inputs_embeds=batch, attention_mask=mask.long().to(batch.device), generation_config=greedy)
        return [row[: row.index(stop)] if stop in row else row for row in rows.tolist()]

    def describe(self) -> str:
        """One line for people: which model, from where, how large, what of it is trained."""
        size = sum(parameter.numel() for parameter in self.parameters()) / 1e6
        return (
            f"{type(self.model).__name__} from {self.name}, {size:.1f} M parameters, {self.trained}, up to {self.context} positions"
        )

    def _masks(self, dialogues: PackedDialogues) -> Tensor | dict[str, Tensor]:
        """Who reads whom, as the model's attention takes it: one mask, or one for each kind of its layers."""
        mask = readable(dialogues)
        if "sliding_attention" not in (getattr(self.model.config, "layer_types", None) or ()):
            return self._form(mask)
        places = padded(dialogues.places, dialogues)
        near = places[:, :, None] - places[:, None] < self.model.config.sliding_window
        return {"full_attention": self._form(mask), "sliding_attention": self._form(mask & near)}

    def _form(self, mask: Tensor) -> Tensor:
        """``[images, 1, longest, longest]``: boolean for fused attention, else what is added to the scores."""
        if self.model.config._attn_implementation == "sdpa":
            return mask[:, None]
        low = torch.finfo(self.model.dtype).min
        return torch.zeros(mask.shape, dtype=self.model.dtype, device=mask.device).masked_fill(~mask, low)[:, None]

    def _choose(self, train: str, lora: Mapping[str, Any] | None) -> None:
        """What of the model gets gradients."""
        if train == "lora":
            from peft import LoraConfig, inject_adapter_in_model

            inject_adapter_in_model(
                LoraConfig(**{"r": 16, "lora_alpha": 32, "target_modules": "all-linear", **(lora or {})}), self.model
            )
        elif train == "frozen":
            self.model.requires_grad_(False)


def _load(name: str) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(find_model(name, setting="model.llm.model"), dtype=torch.float32)
    except Exception as error:  # damaged files raise nearly anything
        if isinstance(error, ValueError) and "model.llm.model" in str(error):
            raise
        remedy = "check the spelling, the connection and the access rights, or give the folder of a downloaded copy"
        raise ValueError(f"model.llm.model={name!r}: could not be loaded ({first_line(error)}); {remedy}") from error


def _draw(config: dict[str, Any], tokenizer: str) -> Any:
    """A model of random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    backend = load_backend(tokenizer)
    kind = config.pop("model_type", "")
    ids = {"bos_token_id": backend.bos_token_id, "eos_token_id": backend.eos_token_id, "pad_token_id": backend.pad_token_id}
    try:
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{"vocab_size": len(backend), **ids, **config}))
    except Exception as error:
        raise ValueError(f"model.llm.config: no causal model of model_type={kind!r} can be made ({first_line(error)})") from error
