"""The model card (``README.md``) of an export: what it is, what it was trained on, what was measured, how to load it."""

import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import mmengine
import torch
from mmengine.logging import print_log

import finevit
from finevit.evaluation.results import NAME, read_results
from finevit.export import tuned
from finevit.export.exporter import Exporter
from finevit.export.files import TEMPLATES
from finevit.export.source import LoadedCheckpoint, classifier_of
from finevit.registry import kind_of
from finevit.stages.base import short_count

STAGES = {
    "I": "masked feature distillation",
    "II": "contrastive learning with recaptions",
    "III": "alignment with a language model",
}


CLASSIFIER = """

```python
from transformers import AutoModelForImageClassification

classifier = AutoModelForImageClassification.from_pretrained(FOLDER, trust_remote_code=True).eval()
logits = classifier(**processor(images)).logits  # config.id2label names the classes
```"""
"""How a classifier is loaded from the export of ``hf``."""


class Measured(NamedTuple):
    """One set that the checkpoint was tested on."""

    name: str
    data: str
    images: int
    iteration: int
    protocol: str
    values: dict[str, float]


def write_card(source: LoadedCheckpoint, folder: Path, exporter: Exporter, target: str) -> None:
    """``README.md``, with the front matter that the hub reads."""
    facts = {
        "name": f"finevit-{source.arch}-{f'stage{len(source.stage)}' if source.stage else source.task.replace(' ', '-')}",
        "library": exporter.library,
        "library_name": exporter.title,
        "pipeline": "image-classification" if _classifies(source, target) else exporter.pipeline,
        "tags": exporter.tags,
        "usage": exporter.usage.format(arch=source.arch).strip() + (CLASSIFIER if _classifies(source, target) else ""),
        "limits": (*exporter.limits, *_limits(source, target)),
        "what": _what(source),
        "prepared": _prepared(source.image),
        "sizes": f"in training they were multiples of {source.image['snap']}" if source.stage else "others were padded in training",
        "arch": source.arch,
        "encoder": source.encoder,
        "image": source.image,
        "parameters": short_count(sum(value.numel() for value in source.part("backbone").values())),
        "metrics": measured(source),
        "command": f"finevit export {source.path.name} --to {target} --out FOLDER",
        "made": _made(source),
        **_data(source),
        "start": "" if source.stage else tuned.start_of(source.cfg) + "\n\n",
    }
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    (folder / "README.md").write_text(environment.from_string((TEMPLATES / "card.txt").read_text()).render(facts))


def _what(source: LoadedCheckpoint) -> str:
    """What the encoder was trained for."""
    if source.stage:
        return f" after Stage {source.stage}, {STAGES[source.stage]}"
    return f", as a model for {source.task} has it (`{kind_of(source.cfg.model)}`)"


def _prepared(image: dict[str, Any]) -> str:
    """To what size images are brought."""
    if "size" not in image:
        return f"reduced to {image['pixels']:,} pixels, never enlarged"
    sides = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in image["size"].items())
    return f"resized to {sides}" + (f", of which the middle {image['crop_size']} are taken" if "crop_size" in image else "")


def _classifies(source: LoadedCheckpoint, target: str) -> bool:
    """Whether the export holds a classifier's head."""
    return target == "hf" and bool(classifier_of(source)[0])


def _limits(source: LoadedCheckpoint, target: str) -> list[str]:
    """What of a model for a task is not here."""
    if source.stage:
        return []
    there = _classifies(source, target)
    return ["Images were resized by the run's own pipeline, here they are resized by area."] + (
        [] if there else ["What the model has beside the encoder, neck and heads, is not in this export."]
    )


def measured(source: LoadedCheckpoint) -> list[Measured]:
    """What ``results.json`` beside the checkpoint says of it: the run's own evaluation at its step, and tests of this file."""
    path, step = source.path.parent / NAME, source.meta.get("iter")
    try:
        content = read_results(path) if path.is_file() else {}
    except ValueError as error:
        print_log(f"{error}; the card says nothing of evaluations", logger="current", level=logging.WARNING)
        content = {}
    own = {**content, "metrics": _at(content, step), "iteration": step}
    tests = {
        name: entry
        for name, entry in content.get("benchmarks", {}).items()
        if Path(entry["checkpoint"]).name == source.path.name and entry["iteration"] == step
    }
    return [_measured(name, entry) for name, entry in ({"validation": own} | tests).items() if entry["metrics"]]


def _at(content: dict[str, Any], step: int | None) -> dict[str, float]:
    """The run's own evaluation at a step."""
    found: dict = next((entry for entry in content.get("evaluations", []) if entry["iteration"] == step), {})
    return {key: value for key, value in found.items() if key != "iteration"}


def _measured(name: str, entry: dict[str, Any]) -> Measured:
    protocol = ", ".join(dict.fromkeys(entry["protocols"].values()))
    values = {
        key: round(value, 4) for key, value in entry["metrics"].items() if isinstance(value, int | float) and math.isfinite(value)
    }
    return Measured(name, entry["data"]["description"], entry["data"]["images"], entry["iteration"], protocol, values)


def _made(source: LoadedCheckpoint) -> str:
    """Run and versions; no paths of the machine."""
    meta, versions = source.meta, f"FineViT {finevit.__version__}, PyTorch {torch.__version__}, MMEngine {mmengine.__version__}"
    steps, seed = meta.get("iter", "an unknown number of"), meta.get("seed", "unknown")
    parts = {"teacher": "teacher", "text_encoder": "text tower", "llm": "language model"}
    types = {said: source.cfg.model[name].get("type") for name, said in parts.items() if source.cfg.model.get(name)}
    beside = "".join(f", {said} `{kind}`" for said, kind in types.items())
    run = f"The checkpoint `{source.path.name}` is from {steps} steps of finevit train with seed {seed}{beside}."
    averaged = any(kind_of(hook) == "EMAHook" for hook in source.cfg.get("custom_hooks") or [])
    mean = " Its weights are the exponential moving average (EMAHook)." if averaged else ""
    return f"{run}{mean} Exported with {versions}."


def _data(source: LoadedCheckpoint) -> dict[str, str]:
    """What the config says of the training data, and of whose terms hold for them."""
    loader = source.cfg.get("train_dataloader") or {}
    kept = (loader.get("dataset") or {}).get("source") or {}
    kept = kept if source.stage else tuned.data_of(source.cfg)
    kind = str(kept.get("kind") or kept.get("type", "")).rpartition(".")[2]
    if kind == "Scenes":
        level = kept.get("level", "easy")
        return {
            "data": f"FineViT's embedded scenes (level {level}): drawn images with captions, boxes and text that are true by "
            "construction. They are made to test training in minutes; an encoder of them alone knows little of photographs.",
            "licence": "apache-2.0",
            "terms": "the scenes use OpenMoji drawings (CC BY-SA 4.0) where these are installed, and sample photographs of "
            "scikit-learn and scikit-image.",
        }
    named = ", ".join(f"{key}={_name(value)}" for key, value in kept.items() if key != "type")
    return {
        "data": f"Images read by `{kind or 'an unknown source'}`{f' ({named})' if named else ''}. "
        "Whoever publishes this should say here what they are and how they were captioned.",
        "licence": "other",
        "terms": "they are not known to the exporter; whoever publishes this should name them.",
    }


def _name(value: Any) -> str:
    """A value of the config for people; of a path its last part."""
    return repr(Path(value).name if isinstance(value, str) and "/" in value else value)
