"""A frozen encoder out of a checkpoint of any stage: the backbone alone, without teacher, text encoder or language model."""

import logging
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.device import get_device
from torch import nn

from finevit.config.loading import config_of
from finevit.config.own_data import LOADERS
from finevit.config.refusals import refusals
from finevit.config.validation import check_config
from finevit.contracts import ImageEncoder
from finevit.hub.origins import changes, say
from finevit.hub.weights import check_fit, read_checkpoint, under, weights_of
from finevit.registry import MODELS

PIXELS = 224 * 224
"""Where the config has no validation set that says how large images are."""


class Encoder(NamedTuple):
    """A frozen backbone with what its images need: the preprocessor, the largest area and the side of a patch, in pixels."""

    backbone: ImageEncoder
    preprocessor: nn.Module
    pixels: int
    patch: int


class Checkpoint(NamedTuple):
    """Weights with the config that they were trained by, the ``iteration``, and the ``file`` that they are from."""

    cfg: Config
    weights: dict[str, torch.Tensor]
    iteration: int
    meta: dict[str, Any] = {}
    file: str = ""


def open_checkpoint(path: str, config: str | None, options: dict[str, Any]) -> Checkpoint:
    """A checkpoint with the config of a file or, without one, its own; ``ValueError`` where it cannot be read or has none."""
    content = read_checkpoint(path, setting="checkpoint", remedy="give one that finevit train wrote")
    meta = content.get("meta", {})
    cfg = config_of(path, meta, config, options)
    if not isinstance(cfg.get("model"), dict) or not cfg.model.get("backbone"):
        raise ValueError(f"{config or path}: its config has no model.backbone to probe; give that of a FineViT by --config FILE")
    if options and cfg.get("train_cfg"):  # a whole config: one for probes alone may lack what runs need
        check_config(cfg, unused=LOADERS)
    return Checkpoint(cfg, weights_of(content), meta.get("iter", 0), meta, path)


def load_encoder(checkpoint: Checkpoint, *, pixels: int | None = None, untrained: bool = False) -> Encoder:
    """The encoder of a checkpoint, with its weights or as it was before training; the same random weights every time.

    Images larger than ``pixels`` are reduced to that area; by default that of the config's validation set.
    """
    cfg = checkpoint.cfg
    torch.manual_seed((cfg.get("randomness") or {}).get("seed") or 0)
    with refusals(cfg.to_dict()):
        backbone = MODELS.build({**cfg.model.backbone, "_scope_": "finevit"})
        prepare = {"type": "finevit.PackedPreprocessor", **(cfg.model.get("data_preprocessor") or {})}
        preprocessor = MODELS.build(prepare)
    if pixels is not None and pixels < (2 * backbone.patch) ** 2:
        raise ValueError(f"--pixels {pixels}: give an area of at least {(2 * backbone.patch) ** 2} pixels, such as {PIXELS}")
    if not untrained:
        own, remedy = under(checkpoint.weights, "backbone."), "give the config that it was trained with by --config FILE"
        where = f"checkpoint={checkpoint.file!r}"
        check_fit(backbone.state_dict(), own, where=where, remedy=remedy, prefix="backbone.")
        backbone.load_state_dict(own)
        if other := changes(backbone, {"meta": checkpoint.meta}, "backbone"):  # of --config or --cfg-options
            say(f"the encoder does other than it was trained to: {', '.join(other)}; restore the setting", logging.WARNING)
    pixels = pixels or dataset_of(cfg).get("pixels", PIXELS)
    return Encoder(backbone.to(get_device()).eval(), preprocessor.to(get_device()).eval(), pixels, backbone.patch)


def dataset_of(cfg: Config) -> dict[str, Any]:
    """The validation set of a config; empty where it has none."""
    return (cfg.get("val_dataloader") or {}).get("dataset") or {}
