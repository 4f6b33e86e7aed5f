"""The head of a classifier that mmpretrain trained, as ``AutoModelForImageClassification`` of the Hugging Face export holds it."""

from typing import Any

from torch import Tensor

from finevit.export.source import Source
from finevit.export.tuned import MEANS, encoder_of
from finevit.registry import kind_of

EPSILON = 1e-6
"""Of mmpretrain's ClsBatchNormNeck."""


def classifier_of(source: Source) -> tuple[dict[str, Any], dict[str, Tensor]]:
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


def _folded(source: Source, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of the head, with those of a normalisation over batches before it, whose statistics stand still."""
    head = source.part("head.fc")
    weight, bias = head["weight"], head["bias"]
    if not norm:
        return weight, bias
    held = source.part(norm)
    scale = (held["running_var"] + EPSILON).rsqrt() * held.get("weight", 1.0)
    weight = weight * scale
    return weight, bias - weight @ held["running_mean"] + (head["weight"] @ held["bias"] if "bias" in held else 0.0)


def _labels(source: Source, count: int) -> dict[int, str]:
    names = (source.meta.get("dataset_meta") or {}).get("classes") or ()
    return dict(enumerate(names if len(set(names)) == count else (f"LABEL_{index}" for index in range(count))))
