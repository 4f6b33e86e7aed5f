"""Safetensors that ``finevit export`` wrote, as checkpoints: the names of their weights in a model, and the encoder's config."""

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

MARK = "finevit_format"
"""What the file's metadata has."""
STAGES = {"I": "MaskedDistillation", "II": "ContrastiveLearning", "III": "LLMAlignment"}
"""Which model a stage trains."""
PLACES = ("", "encoder.")
"""Under what the exports of an encoder alone, and for Hugging Face, keep it."""


def in_model(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights by their names in a model: the encoder's under ``backbone.``."""
    for place in PLACES:
        if f"{place}embed.weight" in weights:
            names = {name: f"backbone.{name.removeprefix(place)}" for name in weights if name.startswith(place)}
            return {names.get(name, name): value for name, value in weights.items()}
    return weights


def config_of_encoder(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The settings of model and images, as the config of a run has them; empty where the metadata do not give them."""
    try:
        encoder, image = dict(json.loads(metadata["config"])), dict(json.loads(metadata["image"]))
        encoder |= {"mlp_dim": encoder.pop("hidden")} if "hidden" in encoder else {}  # as exports of before have it
        sizes = {name: int(encoder.pop(name)) for name in ("depth", "dim", "heads", "mlp_dim")}
        prepare = {"type": "PackedPreprocessor", **{name: [float(value) for value in image[name]] for name in ("mean", "std")}}
        resize = {"type": "ResizeToBudget", "snap": int(image["snap"])}
        settings = {"patch": int(encoder["patch"]), "pool": str(encoder["pool"]), "rope_theta": float(encoder["rope_theta"])}
        model = {"type": STAGES[metadata["stage"]], "backbone": {"type": "FineViT", "arch": sizes, **settings}}
        dataset = {"pixels": int(image["pixels"]), "transforms": [resize]}
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return {}
    return {"model": {**model, "data_preprocessor": prepare}, "val_dataloader": {"dataset": dataset}}
