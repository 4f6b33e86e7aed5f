"""How a config tests on an evaluation set, whose reader is registered under the set's name (evaluation of Stages II and III)."""

import re
from collections.abc import Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from finevit.config.options import text_of
from finevit.contracts import Source
from finevit.registry import BENCHMARKS, kind_of
from finevit.suggest import did_you_mean

SETTING = re.compile(r""",(?=\w+=)(?=(?:[^'"]|'[^']*'|"[^"]*")*$)""")
"""The comma before a further setting, outside of quotes."""
REPLACED = ("PickCaption", "Tokenize", "AllCaptions", "Label", "DropPatches", "RandomFlip")
"""Transforms of captions, labels and chance, in whose place an evaluation set has its own."""


def parse(text: str) -> tuple[str, dict[str, str]]:
    """``NAME=PATH[,SETTING=VALUE...]`` -> what results call it, and the source's config.

    Results call it by its name, its settings (of files the names, of the folder of images none) and, of the many sets of
    CLIP_benchmark, the folder. A comma with no ``SETTING=`` behind it belongs to the path; quotes keep any.
    """
    pairs = [part.partition("=") for part in SETTING.split(text)]
    name, _, path = pairs[0]
    reader = BENCHMARKS.get(name)
    if reader is None:
        known = sorted(BENCHMARKS.module_dict)
        raise ValueError(f"--benchmark {text}: {name!r} is unknown{did_you_mean(name, known)}; known are {', '.join(known)}")
    if not path or not all(key and value for key, _, value in pairs):
        raise ValueError(f"--benchmark {text}: give NAME=PATH, and further settings as ,SETTING=VALUE")
    path, *values = (str(text_of(value)) for _, _, value in pairs)
    settings = dict(zip((key for key, _, _ in pairs[1:]), values, strict=True))
    which = name if reader.task else f"{name}/{Path(path).name}"
    label = ",".join([which, *(f"{key}={Path(value).name}" for key, value in settings.items() if key != "image_root")])
    return label, {"type": f"finevit.{reader.__name__}", _path_of(reader): path, **settings}


def configure(label: str, source: Source, val: Mapping[str, Any]) -> tuple[dict, list[dict]]:
    """The test dataloader and the metrics of a set: a config's validation loader, with captions or labels as the set has them.

    ``source`` is the opened set, ``val`` the loader with its config.
    """
    dataset = val["dataset"]
    kept = [transform for transform in dataset["transforms"] if kind_of(transform) not in REPLACED]
    make = {"classification": _classification, "questions": _questions}.get(getattr(source, "task", ""), _retrieval)
    transforms, collate, metric = make(source, kept)
    test = {
        **val,
        "dataset": {**dataset, "transforms": transforms},
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "collate_fn": collate,
    }
    return test, [metric]


def _path_of(reader: type) -> str:
    """Its argument for the path: the first that has no default."""
    return next(name for name, each in signature(reader).parameters.items() if each.default is Parameter.empty)


def check_model(text: str, metric: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` where a set compares images with texts and a config's model has no vectors of texts."""
    if metric["type"] in ("finevit.Retrieval", "finevit.ZeroShot") and not model.get("text_encoder"):
        raise ValueError(
            f"--benchmark {text}: this set compares images with texts, but model.type={model['type']!r} has no text_encoder; "
            "test a checkpoint of Stage II, with its config, or what the encoder alone knows: finevit probe CHECKPOINT"
        )


def _retrieval(source: Source, kept: list[dict]) -> tuple[list[dict], dict, dict]:
    return [*kept, {"type": "finevit.AllCaptions"}], _pack("captions_list", "truncated"), {"type": "finevit.Retrieval"}


def _classification(source: Source, kept: list[dict]) -> tuple[list[dict], dict, dict]:
    protocols = ["openai80", "siglip81-canonical", *(["own"] if getattr(source, "templates", ()) else [])]
    return [*kept, {"type": "finevit.Label"}], _pack("label"), {"type": "finevit.ZeroShot", "protocols": protocols}


def _questions(source: Source, kept: list[dict]) -> tuple[list[dict], dict, dict]:
    """The set's own questions where the config asks its own, with boxes in the same style."""
    if "AskQuestions" not in map(kind_of, kept):
        raise ValueError(
            "val_dataloader.dataset.transforms holds no AskQuestions; give the config of a model that answers questions"
        )
    transforms = [_recorded(transform) if kind_of(transform) == "AskQuestions" else transform for transform in kept]
    return transforms, {"type": "finevit.pack_dialogues", "keys": ["questions"]}, {"type": "finevit.LocalTasks"}


def _recorded(ask: Mapping[str, Any]) -> dict:
    return {"type": "finevit.AskRecorded", **{key: value for key, value in ask.items() if key == "style"}}


def _pack(*keys: str) -> dict:
    return {"type": "finevit.pack_evaluation", "keys": list(keys)}
