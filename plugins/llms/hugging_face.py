"""Any Hugging Face causal language model as the alignment LLM: Qwen3, Llama, SmolLM2, Gemma (paper, Stage III: a Qwen3)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from finevit.contracts import AlignmentLLM
from finevit.hub.chat_templates import load_chat
from finevit.hub.locate import find_model, first_line
from finevit.hub.origins import mark, note, say
from finevit.hub.tokenizers import load_backend
from finevit.packing.dialogues import attention_mask, packed, padded
from finevit.packing.packs import PackedDialogues
from finevit.suggest import did_you_mean

from .probe import check_layers, check_segments, check_text

Trained = Literal["full", "lora", "frozen"]
OLDER_NAMES = ("rope_theta", "rope_scaling", "partial_rotary_factor", "attn_implementation")
"""Settings that every config of transformers takes, but does not list under these names."""


class HuggingFaceLLM(AlignmentLLM):
    """A causal model of Hugging Face, loaded by name or folder, or drawn at random for a config.

    Args:
        model: hub name, folder, or ``smollm2-135m`` (which pip brings).
        config: instead of ``model``: ``model_type`` and what differs from its defaults; the tokenizer says the vocabulary.
        tokenizer: name or folder of the tokenizer with its chat template; empty takes the model's own.
        train: what of it is trained: ``full``, ``lora`` (adapters alone) or ``frozen``.
        lora: arguments of peft's ``LoraConfig``; by default rank 16 on all linear layers.
        context: the most positions of a dialogue; None is what the model was made for.
        activation_checkpointing: trade compute for memory by recomputing every block in the backward pass.
    """

    random: bool

    def __init__(
        self,
        *,
        model: str = "",
        config: Annotated[Mapping[str, Any], "a dict, such as dict(model_type='llama')"] | None = None,
        tokenizer: str = "",
        train: Trained = "full",
        lora: Annotated[Mapping[str, Any], "a dict, such as dict(r=16)"] | None = None,
        context: PositiveInt | None = None,
        activation_checkpointing: bool = False,
    ) -> None:
        from transformers import GenerationConfig

        super().__init__()
        if model and config:
            raise ValueError(
                f"model.llm: give either model (here {model!r}), or config with a model_type and a tokenizer, not both"
            )
        if not model and not config:
            raise ValueError(
                "model.llm.model is not set, and no model.llm.config either: give the folder of a language model (config.json, "
                "weights and tokenizer) or its hub name, such as model.llm.model=Qwen/Qwen3-8B; or a config, with a tokenizer"
            )
        if lora and train != "lora":
            raise ValueError(f"model.llm.lora is of no use with train={train!r}: set model.llm.train=lora, or leave it out")
        if config and not tokenizer:
            raise ValueError(
                "model.llm.tokenizer is not set: a model drawn for a config brings none; name one, such as scenes-chat"
            )
        self.name, self.tokenizer, self.trained = model or f"a {(config or {}).get('model_type')} config", tokenizer or model, train
        self.model = _load(model) if model else _draw(dict(config or {}), self.tokenizer)
        check_layers(self.model.config, self.name)
        self.model.generation_config = GenerationConfig()  # a model's own habits (beams, penalties) would fill what greedy leaves
        self.dim = int(self.model.get_input_embeddings().embedding_dim)
        self.context = self._positions(context)
        self._check_vocabulary()
        check_segments(self, self.model, self.name)
        if activation_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        self._choose(train, lora)
        mark(self, random=not model)

    def init_weights(self) -> None:
        """Nothing; says where the weights are from, which are there already."""
        note(self, f"drawn at random for {self.name}" if self.random else f"loaded from {self.name}")
        if not self.random:
            say(f"language model: {len(self.state_dict())} tensors, its own from {self.name!r}")

    def embed(self, tokens: Tensor) -> Tensor:
        """``[text]`` token ids -> ``[text, dim]``."""
        return self.model.get_input_embeddings()(tokens)

    def forward(self, embeddings: Tensor, dialogues: PackedDialogues) -> Tensor:
        """``[text, dim]`` -> ``[text, dim]``, as the contract says; inside, a batch of rows as long as the longest dialogue."""
        output = self.model.base_model(
            inputs_embeds=padded(embeddings, dialogues),
            attention_mask=self._masks(dialogues),
            position_ids=padded(dialogues.position_ids, dialogues),
            use_cache=False,
        )
        return packed(output.last_hidden_state, dialogues)

    def logits(self, hidden: Tensor) -> Tensor:
        """``[n, dim]`` -> ``[n, vocab]``."""
        config = self.model.config
        scale = (getattr(config, "logit_scale", None) or 1) / (getattr(config, "logits_scaling", None) or 1)  # Cohere, Granite
        logits = self.model.get_output_embeddings()(hidden)
        logits = logits if scale == 1 else scale * logits
        cap = getattr(config, "final_logit_softcapping", None)
        return logits if not cap else cap * torch.tanh(logits / cap)

    def generate(self, prompts: Sequence[Tensor], *, max_new_tokens: int, stop: int) -> list[list[int]]:
        """Greedy answers by Hugging Face's own generation, with its cache."""
        from transformers import GenerationConfig

        lengths = torch.tensor([len(prompt) for prompt in prompts])
        batch = nn.utils.rnn.pad_sequence([prompt.flip(0) for prompt in prompts], batch_first=True).flip(1)
        mask = torch.arange(batch.shape[1]) >= batch.shape[1] - lengths[:, None]
        greedy = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=stop, pad_token_id=stop)
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
        mask, config = attention_mask(dialogues), self.model.config
        window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
        if not window or (kinds and "sliding_attention" not in kinds):
            return self._form(mask)
        position_ids = padded(dialogues.position_ids, dialogues)
        near = position_ids[:, :, None] - position_ids[:, None] < window
        if not kinds:  # Mistral, Phi-3: all layers
            return self._form(mask & near)
        return {"full_attention": self._form(mask), "sliding_attention": self._form(mask & near)}

    def _form(self, mask: Tensor) -> Tensor:
        """``[rows, 1, length, length]``: boolean for fused attention, else what is added to the scores."""
        if self.model.config._attn_implementation == "sdpa":
            return mask[:, None]
        low = torch.finfo(self.model.dtype).min
        return torch.zeros(mask.shape, dtype=self.model.dtype, device=mask.device).masked_fill(~mask, low)[:, None]

    def _positions(self, context: int | None) -> int:
        """How many positions a dialogue may have."""
        longest = int(getattr(self.model.config, "max_position_embeddings", 0) or 2048)
        if context is None:
            return longest
        if context > longest:
            raise ValueError(f"model.llm.context={context}: {self.name} was made for {longest} positions")
        return context

    def _check_vocabulary(self) -> None:
        known, needed = self.model.get_input_embeddings().num_embeddings, load_chat(self.tokenizer).size
        if needed > known:
            raise ValueError(
                f"model.llm.tokenizer={self.tokenizer!r} writes {needed} token ids, of which {self.name} knows {known}: "
                "leave model.llm.config.vocab_size out, or give the tokenizer that the model was trained with"
            )

    def _choose(self, train: str, lora: Mapping[str, Any] | None) -> None:
        """What of the model gets gradients."""
        if train == "lora":
            _adapt(self.model, {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", **(lora or {})})
        elif train == "frozen":
            self.model.requires_grad_(False)


def _adapt(model: Any, options: dict[str, Any]) -> None:
    """Adapters of LoRA, the only weights that get gradients."""
    from peft import LoraConfig, inject_adapter_in_model

    known = LoraConfig.__dataclass_fields__
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"model.llm.lora.{name} is no setting of peft's LoraConfig{hint}; its rank is r, its scale lora_alpha")
    try:
        inject_adapter_in_model(LoraConfig(**options), model)
    except Exception as error:  # values that peft checks, or does not
        remedy = "give what peft's LoraConfig takes, or leave it out"
        raise ValueError(f"model.llm.lora={options}: no adapters can be made ({first_line(error)}); {remedy}") from error


def _load(name: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        place = find_model(name, setting="model.llm.model")
        check_text(AutoConfig.from_pretrained(place, trust_remote_code=False), name)
        return AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, trust_remote_code=False)
    except Exception as error:  # damaged files raise nearly anything
        if _is_named(error):
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
        _check_names(config, AutoConfig.for_model(kind))
        made = AutoConfig.for_model(kind, **{"vocab_size": len(backend), **ids, **config})
        check_text(made, f"a {kind} config")
        return AutoModelForCausalLM.from_config(made)
    except Exception as error:
        if _is_named(error):
            raise
        raise ValueError(f"model.llm.config: no causal model of model_type={kind!r} can be made ({first_line(error)})") from error


def _check_names(config: Mapping[str, Any], plain: Any) -> None:
    """``ValueError`` for a setting that such a config does not have: transformers would keep it, and nothing read it."""
    names = [*plain.to_dict(), *plain.attribute_map, *getattr(plain, "__dataclass_fields__", ())]
    known = {*names, *(name.lstrip("_") for name in names), *OLDER_NAMES}
    for name, value in config.items():
        if value is not None and name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"model.llm.config.{name} is no setting of {plain.model_type}{hint}; correct it, or set it to None")


def _is_named(error: Exception) -> bool:
    """Whether it is one of ours, which says setting and remedy."""
    return isinstance(error, ValueError) and "model.llm" in str(error)
