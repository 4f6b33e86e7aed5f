"""Checkpoints of OpenMMLab's detectors, segmenters and classifiers on FineViT, as an export needs them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from finevit.config.recorded import recorded_config
from finevit.hub.weights import read_checkpoint, under
from finevit.registry import MODELS, kind_of

PACKAGE_TASKS = {"mmdet": "object detection", "mmseg": "semantic segmentation", "mmpretrain": "image classification"}
MEANS = ("GlobalAveragePooling", "AveragePool")
"""Necks that give the mean of an image's tokens."""
SETTINGS = ("type", "data_root", "ann_file", "split")
"""What a card says of a data set."""


def task_of(cfg: Config) -> str:
    """What a model does, for people; empty where it is none of OpenMMLab's on an encoder."""
    package = str(cfg.model.get("type", "")).partition(".")[0]
    task = PACKAGE_TASKS.get(package) or PACKAGE_TASKS.get(str(cfg.get("default_scope")), "")
    masks = (cfg.model.get("roi_head") or cfg.model).get("mask_head")
    return f"{task} and instance segmentation" if masks and task == PACKAGE_TASKS["mmdet"] else task


def encoder_of(cfg: Config) -> dict[str, Any]:
    """The encoder's config, without the adapters around it."""
    backbone = cfg.model.get("backbone") or {}
    return backbone.get("module", {}) if kind_of(backbone) == "LoRAModel" else backbone


def with_adapters(cfg: Config, weights: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """The weights, LoRA's adapters of the encoder added to what they adapt; of a run without them as they are."""
    backbone = cfg.model.get("backbone") or {}
    if kind_of(backbone) != "LoRAModel":
        return weights
    held, start = under(weights, "backbone."), (backbone["module"].get("init_cfg") or {}).get("checkpoint")
    whole = any(".lora_" not in name for name in held)
    if not whole and not (start and ("://" in start or Path(start).expanduser().is_file())):
        raise ValueError(
            f"{where} holds adapters alone (LoRAModel), of the encoder in model.backbone.module.init_cfg.checkpoint={start!r}, "
            "which is not there; give with --config a copy of the config that names where it is"
        )
    module = {**backbone["module"], "init_cfg": None} if whole else backbone["module"]
    model = MODELS.build({**backbone, "module": module})
    if missing := [name for name, _ in model.named_parameters() if ".lora_" in name and name not in held]:
        raise ValueError(f"{where} lacks {len(missing)} weights of the adapters, such as backbone.{missing[0]}")
    model.load_state_dict(held, strict=False)
    others = {name: value for name, value in weights.items() if not name.startswith("backbone.")}
    return others | {f"backbone.{name}": value for name, value in _added(model.module).items()}


@torch.no_grad()
def _added(module: Any) -> dict[str, Tensor]:
    """The weights of an encoder with adapters, as one without them has them."""
    for layer in module.modules():
        if hasattr(layer, "lora_down"):
            layer.original_layer.weight += layer.scaling * layer.lora_up.weight @ layer.lora_down.weight
    named = {name.replace("original_layer.", ""): value for name, value in module.named_parameters() if "lora_" not in name}
    return {name: value.detach() for name, value in named.items()}


def image_of(cfg: Config, patch: int) -> dict[str, Any]:
    """How the model's own preprocessing prepares images, in the terms of the exports; RGB."""
    prepare = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    mean, std = prepare.get("mean") or [0.0] * 3, prepare.get("std") or [1.0] * 3
    if not (prepare.get("bgr_to_rgb") or prepare.get("to_rgb")):
        raise ValueError(
            "model.data_preprocessor: images were trained on as BGR (bgr_to_rgb or to_rgb is not set); exports read RGB"
        )
    numbers = {"mean": [round(value / 255, 6) for value in mean], "std": [round(value / 255, 6) for value in std]}
    loader = cfg.get("test_dataloader") or cfg.get("val_dataloader") or {}
    steps = {kind_of(step): step for step in _inner(loader.get("dataset") or {}).get("pipeline") or []}
    size, crop = _size(steps), steps.get("CenterCrop", {}).get("crop_size")
    area = size["height"] * size["width"] if size and "height" in size else (size or {}).get("shortest_edge", 224) ** 2
    given = {"size": size, "crop_size": crop} if size and not steps.get("Resize", {}).get("keep_ratio") else {}
    return {**numbers, "pixels": area, "snap": 2 * patch, **{key: value for key, value in given.items() if value}}


def _size(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, int] | None:
    """To what images are resized: OpenMMLab's scales are width and height."""
    if "ResizeEdge" in steps:
        return {"shortest_edge": steps["ResizeEdge"]["scale"]}
    scale: Any = steps.get("Resize", {}).get("scale")
    if not scale:
        return None
    wide, high = (scale, scale) if isinstance(scale, int) else scale
    return {"height": int(high), "width": int(wide)}


def _inner(dataset: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data set within wrappers such as RepeatDataset; of several the first."""
    inside = dataset.get("dataset") or next(iter(dataset.get("datasets") or []), None)
    return _inner(inside) if inside else dataset


def data_of(cfg: Config) -> dict[str, str]:
    """What the config says of the training data, for the card."""
    dataset = _inner((cfg.get("train_dataloader") or {}).get("dataset") or {})
    root = dataset.get("data_root") or ""
    note = Path(root).expanduser() / "scenes.json"
    if root and note.is_file():
        settings = json.loads(note.read_text())["settings"]
        return {"kind": "Scenes", "level": str(settings["level"])}
    return {key: Path(str(dataset[key])).name for key in SETTINGS if dataset.get(key)}


def start_of(cfg: Config) -> str:
    """From what the encoder was trained on, a sentence for the card."""
    encoder = encoder_of(cfg)
    file, frozen = (encoder.get("init_cfg") or {}).get("checkpoint") or cfg.get("load_from"), encoder.get("frozen")
    before = f"the checkpoint `{Path(file).name}`{_stage_of(file)}" if file else "random weights"
    if frozen:
        untrained = "" if file else ": nothing has taught it anything"
        return f"The encoder was frozen: it has {before}{untrained}. What follows taught the model around it alone."
    how = (
        "by adapters (LoRA), which are added to its weights here" if kind_of(cfg.model.get("backbone")) == "LoRAModel" else "whole"
    )
    return f"The encoder began from {before} and was tuned {how}."


def _stage_of(file: str) -> str:
    """What a checkpoint that is still there says of its own training."""
    if "://" in file or not Path(file).expanduser().is_file():
        return ", of whose own training nothing is known here"
    meta = read_checkpoint(file, setting="init_cfg.checkpoint", remedy="").get("meta") or {}
    model = recorded_config(file, meta).get("model") if meta.get("cfg") else {}
    return f" (of `{kind_of(model)}`, {meta.get('iter', 'an unknown number of')} steps)" if model else ""
