"""Whether a Hugging Face model can be asked several questions that share a sequence (paper, Stage III)."""

from typing import Any

import torch
from torch import Tensor

from finevit.contracts import AlignmentLLM
from finevit.hub.locate import first_line
from finevit.packing.images import cu_seqlens
from finevit.packing.packs import IGNORE_INDEX, PackedDialogues

READABLE = ("full_attention", "sliding_attention")
"""Kinds of layers whose attention takes a mask of who reads whom."""
REMEDY = "choose one of full or sliding attention alone, such as a Qwen3, Llama, Gemma or SmolLM"
_PREFIX, _SEGMENT, _APART = 4, 3, 1e-3
"""Tokens of the prefix and of each of two segments; logits that differ by this share of the largest are not the same."""


def check_text(config: Any, name: str) -> None:
    """``ValueError`` for a config of which transformers makes a model that reads images too, or no causal one."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if config.get_text_config() is not config and (kind is None or kind.config_class is type(config)):
        raise ValueError(
            f"model.llm: {name} is no text model but a {config.model_type}, which reads images by itself; "
            "give a text model, such as Qwen/Qwen3-8B, or a folder with its language model alone"
        )


def check_layers(config: Any, name: str) -> None:
    """``ValueError`` where layers of a model take no mask of who reads whom."""
    if others := sorted(set(getattr(config, "layer_types", None) or ()) - set(READABLE)):
        layers = f"its layers of {', '.join(others)} take no mask of who reads whom"
        raise ValueError(f"model.llm: {name} mixes questions that share a sequence: {layers}; {REMEDY}")


@torch.no_grad()
def check_segments(llm: AlignmentLLM, model: Any, name: str) -> None:
    """``ValueError`` unless two questions in one sequence give the logits that the model's own forward gives to each alone."""
    training = model.training
    model.eval()
    try:
        parts = _both(llm, model)
    except Exception as error:  # models without attention do not know what a mask or a position is
        raise ValueError(
            f"model.llm: {name} cannot read questions that share a sequence ({first_line(error)}); {REMEDY}"
        ) from error
    finally:
        model.train(training)
    first, second = (_same(*part) for part in parts)
    if not first:
        raise ValueError(f"model.llm: {name} computes its logits in a way of its own, which is not supported; {REMEDY}")
    if not second:
        raise ValueError(f"model.llm: {name} mixes questions that share a sequence; {REMEDY}")


def _both(llm: AlignmentLLM, model: Any) -> list[tuple[Tensor, Tensor]]:
    """Logits of each segment: packed, and by the model's own forward."""
    dialogues = _two_questions(model.get_input_embeddings().num_embeddings)
    packed = llm.logits(llm(llm.embed(dialogues.tokens), dialogues))
    found = []
    for segment in (1, 2):
        tokens = dialogues.tokens[(dialogues.segment_ids == 0) | (dialogues.segment_ids == segment)]
        alone = model(input_ids=tokens[None], use_cache=False).logits[0]
        found.append((packed[dialogues.segment_ids == segment], alone[_PREFIX:]))
    return found


def _same(packed: Tensor, alone: Tensor) -> bool:
    return bool((packed - alone).abs().max() <= _APART * alone.abs().max())


def _two_questions(vocab: int) -> PackedDialogues:
    """A prefix and two segments; no random numbers, so that a run's own stay as they are."""
    length = _PREFIX + 2 * _SEGMENT
    tokens, order = 7 * torch.arange(1, length + 1) % vocab, torch.arange(length)
    segment_ids = (order >= _PREFIX).long() + (order >= _PREFIX + _SEGMENT).long()
    return PackedDialogues(
        tokens=tokens,
        labels=torch.full((length,), IGNORE_INDEX),
        position_ids=order - _SEGMENT * (segment_ids == 2),
        segment_ids=segment_ids,
        cu_seqlens=cu_seqlens((length,)),
        seqlens=(length,),
        visual=(0,),
        answers=(2,),
        supervised=0,
    )
