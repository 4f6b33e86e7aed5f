"""Any Hugging Face text tower: SigLIP, SigLIP2, CLIP, MiniLM and other encoders (paper, Stage II: that of SigLIP2-giant)."""

from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import interpolate

from finevit.contracts import TextEncoder
from finevit.hub.locate import find_model, first_line
from finevit.hub.origins import mark, note, say
from finevit.hub.tokenizers import load_tokenizer
from finevit.packing.packs import PackedTexts
from finevit.registry import MODELS

POOLED = {"clip_text_model": "CLIPTextModel", "siglip_text_model": "SiglipTextModel", "siglip2_text_model": "Siglip2TextModel"}
"""Towers that give one vector for a text themselves. All others get the mean of its tokens, as sentence-transformers do it."""
PADDED = ("siglip_text_model", "siglip2_text_model")
"""Towers that were trained on texts padded to the full length, without a mask: they read their vector off the last place."""
KEPT = 20
"""Places of a table of positions that stay as they were trained when it is stretched (Long-CLIP, section 3.1)."""


@MODELS.register_module()
class HuggingFaceText(TextEncoder):
    """A Hugging Face text tower with its own tokenizer, in float32. Of a checkpoint with two towers it loads the text tower alone.

    It is no ``BaseModule`` of MMEngine, which would have the tower draw its weights anew.

    Args:
        model: hub name, folder, or ``minilm`` (which pip brings); its tokenizer comes from there as well.
        context: the most tokens of a text; None is what the checkpoint was trained for. More than that stretches a table of
            positions as Long-CLIP does.
        pretrained: load the weights, or draw random ones for the model's config.
    """

    random: bool

    def __init__(
        self, *, model: str, context: Annotated[int, Ge(1), "a whole number of tokens"] | None = None, pretrained: bool = True
    ) -> None:
        super().__init__()
        self.model = self.tokenizer = model
        tokenizer = load_tokenizer(model)
        self.pad_id, self.pad_left = tokenizer.pad_id, tokenizer.pad_left
        self.tower = _load(model, find_model(model), pretrained)
        self.vocab = self.tower.get_input_embeddings().num_embeddings
        if tokenizer.size > self.vocab:
            raise ValueError(
                f"model.text_encoder.model={model!r}: its tokenizer, read as {tokenizer.kind}, has {tokenizer.size:,} ids, but the "
                f"text tower embeds {self.vocab:,}; repair tokenizer_config.json, or give another folder"
            )
        config = self.tower.config
        self.pooled, self.padded = config.model_type in POOLED, config.model_type in PADDED
        self.dim = (self.pooled and getattr(config, "projection_size", None)) or config.hidden_size
        self.context, self.trained = _set_context(model, self.tower, context)
        mark(self, random=not pretrained)
        if not self.pooled and getattr(self.tower, "pooler", None) is not None:
            self.tower.pooler = None  # of no use here: without gradients

    def init_weights(self) -> None:
        """Nothing; says where the weights are from, which are there already."""
        note(self, f"drawn at random for the config of {self.model}" if self.random else f"loaded from {self.model}")
        if not self.random:
            say(f"text encoder: {len(self.state_dict())} tensors from {self.model!r}")

    def forward(self, texts: PackedTexts) -> Tensor:
        """``[texts, dim]``: the tower's own vector for each text, or the mean of its tokens."""
        if texts.max_seq_len > self.context:
            remedy = f"set model.text_encoder.context={texts.max_seq_len}, or allow no more than {self.context} tokens"
            raise ValueError(f"max_seq_len={texts.max_seq_len}: {self.model!r} reads {self.context} tokens; {remedy}")
        ids, mask = self._pad(texts)
        output = self.tower(input_ids=ids, attention_mask=None if self.padded else mask.long())
        if self.pooled:
            return output.pooler_output
        weight = mask[:, :, None].to(output.last_hidden_state.dtype)
        return (output.last_hidden_state * weight).sum(1) / weight.sum(1)

    def describe(self) -> str:
        """One line for people: which model, from where, how large."""
        size = sum(parameter.numel() for parameter in self.parameters()) / 1e6
        pool = "its own pooling" if self.pooled else "mean of the tokens"
        origin = f"random weights for the config of {self.model}" if self.random else f"from {self.model}"
        kind = f"{type(self.tower).__name__} {origin}, {size:.1f} M parameters, {pool}, up to {self.context} tokens"
        return kind + (f", positions stretched from {self.trained}" if self.context > self.trained else "")

    def _pad(self, texts: PackedTexts) -> tuple[Tensor, Tensor]:
        """Ids and mask ``[texts, width]``: as wide as the limit where the tower was trained so, else as the longest text."""
        width = texts.max_seq_len if self.padded else max(texts.seqlens)
        lengths = torch.diff(texts.cu_seqlens)[:, None]
        place = torch.arange(width, device=lengths.device)
        mask = place >= width - lengths if self.pad_left else place < lengths
        return texts.tokens.new_full(mask.shape, self.pad_id).masked_scatter(mask, texts.tokens), mask


def _load(model: str, place: str, pretrained: bool) -> Any:
    """The text tower, without a word on the weights of the other one; refuses missing weights."""
    from transformers import AutoConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        config = getattr(config, "text_config", config)
        tower = _tower(config)
        if not pretrained:
            return tower(config)
        options = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # told below, with their names
        loaded, report = tower.from_pretrained(place, config=config, dtype=torch.float32, **options)
    except Exception as error:  # damaged files raise nearly anything: KeyError, ValueError, RuntimeError, SafetensorError
        remedy = "check the spelling, the connection and the access rights, or give the folder of a downloaded copy"
        raise ValueError(f"model.text_encoder.model={model!r}: could not be loaded ({first_line(error)}); {remedy}") from error
    finally:
        logging.set_verbosity(verbosity)
    if mismatched := report["mismatched_keys"]:
        key, there, wanted = min(mismatched)
        raise ValueError(
            f"model.text_encoder.model={model!r}: {len(mismatched)} weights do not fit config.json, for example {key!r} "
            f"is {[*there]}, not {[*wanted]}; give a folder whose files belong together"
        )
    if broken := [name for name, weight in loaded.named_parameters() if not weight.isfinite().all()]:
        raise ValueError(
            f"model.text_encoder.model={model!r}: the weights {broken[0]!r} are not finite; fetch the checkpoint again"
        )
    missing = [key for key in report["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        raise ValueError(
            f"model.text_encoder.model={model!r}: the checkpoint lacks {len(missing)} weights, for example {min(missing)!r}; "
            "give one that holds a text tower"
        )
    return loaded


def _tower(config: Any) -> Any:
    """The class of the text tower of a config."""
    import transformers

    if config.model_type in POOLED:
        return getattr(transformers, POOLED[config.model_type])
    encoders, models = transformers.MODEL_FOR_TEXT_ENCODING_MAPPING, transformers.MODEL_MAPPING
    tower: Any = encoders[type(config)] if type(config) in encoders else models[type(config)]
    if tower.main_input_name != "input_ids":
        raise ValueError(f"{tower.__name__} is no text tower")
    return tower


def _set_context(model: str, tower: Any, context: int | None) -> tuple[int, int]:
    """Makes the tower read ``context`` tokens; returns how many it reads, and was trained to. Relative positions need no change."""
    found = [name for name, part in tower.named_modules() if isinstance(part, nn.Embedding) and "position_embedding" in name]
    if not found:
        longest = int(getattr(tower.config, "max_position_embeddings", 512))
        relative = any("rotary" in name or "relative" in name for name, _ in tower.named_modules())
        if context and context > longest and not relative:
            raise ValueError(
                f"model.text_encoder.context={context}: {model!r} has {longest} positions of a kind that is not stretched"
            )
        return context or longest, context or longest
    table: nn.Embedding = tower.get_submodule(found[0])
    first = 0 if table.padding_idx is None else table.padding_idx + 1  # where RoBERTa and its kin begin to count
    trained = table.num_embeddings - first
    context = context or trained
    if context <= trained:
        return context, trained
    if trained <= KEPT:
        raise ValueError(f"model.text_encoder.context={context}: {model!r} has {trained} positions, too few to stretch")
    table.weight = nn.Parameter(stretch(table.weight.detach(), first + context, first + KEPT))
    table.num_embeddings = tower.config.max_position_embeddings = first + context
    owner = tower.get_submodule(found[0].rpartition(".")[0])
    for name, buffer in [(name, getattr(owner, name, None)) for name in ("position_ids", "token_type_ids")]:
        if isinstance(buffer, Tensor):
            places = torch.arange(first + context)[None]
            setattr(owner, name, places if name == "position_ids" else torch.zeros_like(places))
    return context, trained


def stretch(table: Tensor, size: int, kept: int = KEPT) -> Tensor:
    """``[places, dim]`` -> ``[size, dim]``: the first ``kept`` rows as they are, the others interpolated between their ends."""
    rest = interpolate(table[kept:].T[None], size=size - kept, mode="linear", align_corners=True)[0].T
    return torch.cat((table[:kept], rest)).contiguous()
