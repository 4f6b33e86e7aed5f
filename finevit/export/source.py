"""A checkpoint of a training run, read for export: the encoder's settings, the weights, and how they came about."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from finevit.backbones import FineViT
from finevit.config.loading import config_of
from finevit.config.own_data import LOADERS
from finevit.config.refusals import refusals
from finevit.config.validation import check_config
from finevit.engine.data_preprocessor import PackedPreprocessor
from finevit.export import tuned
from finevit.export.tuned import MEANS, encoder_of
from finevit.hub import untrusted
from finevit.hub.weights import check_fit, read_checkpoint, under, weights_of
from finevit.registry import MODELS, kind_of

STAGES = {kind: stage for stage, kind in untrusted.STAGES.items()}
"""Which stage a model's type is of."""
REMEDY = "give a whole checkpoint of finevit train, and with --config the config that it was trained with"


@dataclass(frozen=True)
class LoadedCheckpoint:
    """What there is to export.

    ``path`` is the checkpoint's, ``cfg`` the config of its run, ``stage`` ``I``, ``II`` or ``III``, empty where it was trained for
    a ``task`` of OpenMMLab's models, ``encoder`` the arguments of the exported encoder, ``image`` how images are prepared
    (``mean``, ``std``, ``pixels``, ``snap``), ``weights`` all of the checkpoint's by name, ``meta`` what it says of itself.
    """

    path: Path
    cfg: Config
    stage: str
    task: str
    encoder: dict[str, Any]
    image: dict[str, Any]
    weights: dict[str, Tensor]
    meta: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """The weights of a part of the model, such as ``backbone``, by their names in it; each with memory of its own."""
        return {key: value.detach().clone() for key, value in under(self.weights, f"{name}.").items()}

    def check(self, part: str, wanted: nn.Module) -> None:
        """``ValueError`` where the weights of a part are not those that ``wanted`` has."""
        where, listing = f"checkpoint={self.path.name!r}", Path(f"{self.path.stem}_refused_keys.txt")
        found = under(self.weights, f"{part}.")
        check_fit(wanted.state_dict(), found, where=where, remedy=REMEDY, prefix=f"{part}.", listing=listing)

    @property
    def arch(self) -> str:
        """Name of the architecture; ``custom`` where the config gives numbers."""
        arch = tuned.encoder_of(self.cfg).get("arch", "large")
        return arch if isinstance(arch, str) else "custom"

    def need(self, stage: str, target: str) -> None:
        """``ValueError`` where a target needs a checkpoint of another stage."""
        if self.stage != stage:
            what = f"of Stage {self.stage}" if self.stage else f"a model for {self.task}"
            raise ValueError(f"--to {target}: {self.path.name} is {what}; give a checkpoint of Stage {stage}")
        if untrusted.MARK in self.meta:
            raise ValueError(
                f"--to {target}: {self.path.name} is an export, of the encoder alone; give a checkpoint of Stage {stage}"
            )


def read_source(checkpoint: str | Path, config: str | Path | None = None) -> LoadedCheckpoint:
    """Reads a checkpoint; the config is the one in it unless another is given. ``ValueError`` where they do not belong together."""
    path = Path(checkpoint).expanduser()
    content = read_checkpoint(path, setting="checkpoint", remedy=REMEDY)
    meta = content.get("meta") or {}
    cfg = config_of(path, meta, config)
    if config is not None:
        check_config(cfg, unused=LOADERS)
    kind, task = kind_of(cfg.model), tuned.task_of(cfg)
    if kind not in STAGES and not (task and tuned.encoder_of(cfg)):
        raise ValueError(
            f"config: model.type={kind!r} is no stage of FineViT ({', '.join(STAGES)}), nor a detector, segmenter or classifier of "
            f"OpenMMLab with a backbone; {REMEDY}"
        )
    if config is not None and meta.get("cfg"):
        _same_model(path, config_of(path, meta), kind)
    backbone = _backbone(cfg)
    image = _image(cfg, backbone.patch) if kind in STAGES else tuned.image_of(cfg, backbone.patch)
    weights = tuned.with_adapters(cfg, weights_of(content), f"checkpoint={path.name!r}")
    stage = STAGES.get(kind, "")
    source = LoadedCheckpoint(path, cfg, stage, "" if stage else task, _arguments(backbone), image, weights, meta)
    source.check("backbone", backbone)
    return source


def _same_model(path: Path, own: Config, kind: str) -> None:
    """``ValueError`` where a config is of another model than the checkpoint's own: its card would not be true."""
    if kind_of(own.model) != kind:
        raise ValueError(
            f"--config: model.type={kind!r}, but {path.name} was trained as {kind_of(own.model)!r}; leave --config out, or "
            "give a copy of the config that it was trained with"
        )


def _backbone(cfg: Config) -> FineViT:
    """The encoder of a config, without memory for its weights."""
    with torch.device("meta"), refusals(cfg.to_dict()):
        backbone = MODELS.build({**tuned.encoder_of(cfg), "init_cfg": None})
    if not isinstance(backbone, FineViT):
        raise ValueError(
            f"model.backbone.type={tuned.encoder_of(cfg).get('type')!r} cannot be exported; exports are of FineViT alone"
        )
    if backbone.window:
        raise ValueError(
            f"model.backbone.window={backbone.window}: exports attend to whole images; give with --config a copy of the "
            "config that has window=0, whose results differ"
        )
    return backbone


def _arguments(backbone: FineViT) -> dict[str, Any]:
    """The arguments of ``finevit.export.templates.encoder_finevit.Encoder``."""
    mlp_dim = backbone.state_dict()["blocks.0.feed_forward.down.weight"].shape[1]
    pool = "attention" if any(True for _ in backbone.pool.parameters()) else "mean"
    sizes = {"depth": backbone.depth, "dim": backbone.dim, "heads": backbone.heads, "mlp_dim": mlp_dim}
    return {**sizes, "patch": backbone.patch, "pool": pool, "rope_theta": float(backbone.rope_theta)}


def _image(cfg: Config, patch: int) -> dict[str, Any]:
    """Mean and standard deviation per channel, area in pixels to which images are reduced, what sides are multiples of."""
    prepare = MODELS.build(cfg.model.get("data_preprocessor") or {"type": "finevit.PackedPreprocessor"})
    if not isinstance(prepare, PackedPreprocessor):
        raise ValueError("model.data_preprocessor: exports know PackedPreprocessor alone; give a config that has it")
    dataset = (cfg.get("val_dataloader") or {}).get("dataset") or {}
    resize: dict = next((step for step in dataset.get("transforms", []) if str(step["type"]).endswith("ResizeToBudget")), {})
    numbers = {name: [round(value, 6) for value in getattr(prepare, name).flatten().tolist()] for name in ("mean", "std")}
    return {**numbers, "pixels": int(dataset.get("pixels") or 224 * 224), "snap": int(resize.get("snap", 2 * patch))}


EPSILON = 1e-6
"""Of mmpretrain's ClsBatchNormNeck."""


def classifier_of(source: LoadedCheckpoint) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the head adds to ``config.json``, and its weights; both empty where there is none that the export could hold."""
    model, encoder = source.cfg.model, encoder_of(source.cfg)
    necks = model.get("neck") or []
    kinds = [kind_of(neck) for neck in (necks if isinstance(necks, list | tuple) else [necks])]
    pool = {**dict.fromkeys(MEANS, "mean"), "AttentivePool": "attentive"}.get(kinds[0] if kinds else "")
    last = tuple(encoder.get("out_layers") or (-1,))[-1] in (-1, source.encoder["depth"] - 1)
    plain = last and kind_of(model.get("head")) == "LinearClsHead" and kinds[1:] in ([], ["ClsBatchNormNeck"])
    if not (pool and plain):
        return {}, {}
    weight, bias = _folded(source, "neck.1.bn" if kinds[1:] else "")
    weights = {"classifier.weight": weight, "classifier.bias": bias}
    labels = _labels(source, len(weight))
    config: dict[str, Any] = {"classifier_pool": pool, "id2label": labels, "label2id": {labels[i]: i for i in labels}}
    if pool == "attentive":
        neck = necks if isinstance(necks, dict) else necks[0]
        held = source.part("neck" if isinstance(necks, dict) else "neck.0")
        config["classifier_heads"] = neck.get("heads", 16)
        weights |= {f"attentive.{name}": value for name, value in held.items()}
    return config, weights


def _folded(source: LoadedCheckpoint, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of the head, with those of a normalisation over batches before it, whose statistics stand still."""
    head = source.part("head.fc")
    weight, bias = head["weight"], head["bias"]
    if not norm:
        return weight, bias
    held = source.part(norm)
    scale = (held["running_var"] + EPSILON).rsqrt() * held.get("weight", 1.0)
    weight = weight * scale
    return weight, bias - weight @ held["running_mean"] + (head["weight"] @ held["bias"] if "bias" in held else 0.0)


def _labels(source: LoadedCheckpoint, count: int) -> dict[int, str]:
    names = (source.meta.get("dataset_meta") or {}).get("classes") or ()
    return dict(enumerate(names if len(set(names)) == count else (f"LABEL_{index}" for index in range(count))))
