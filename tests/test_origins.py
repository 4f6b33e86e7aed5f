"""Where weights come from: what is loaded is told, and what is frozen and random, or does other than it was trained to."""

import logging
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from finevit.backbones import FineViT
from finevit.engine.hooks.origins_hook import OriginsHook
from finevit.plugins import load_plugins
from finevit.registry import MODELS

SMALL = {"depth": 2, "dim": 32, "heads": 2, "hidden": 48}
IMAGES = torch.rand(1, 3, 28, 28) + 0.1


@contextmanager
def told():
    """The lines of a logger of MMEngine, which does not hand them on; a new one, without the files of other runs."""
    lines, handler, name = [], logging.Handler(), f"told-{time.time_ns()}"
    handler.emit = lambda record: lines.append(record.getMessage())
    MMLogger.get_instance(name).addHandler(handler)
    try:
        yield lines
    finally:
        MMLogger._instance_dict.pop(name)


def saved(path, **settings) -> str:
    """A checkpoint of an encoder, with its config."""
    encoder = FineViT(arch=SMALL, **settings)
    state = {f"backbone.{name}": value for name, value in encoder.state_dict().items()}
    config = {"type": "ContrastiveLearning", "backbone": {"type": "FineViT", "arch": SMALL, **settings}}
    torch.save({"meta": {"cfg": f"model = {config!r}", "iter": 1}, "state_dict": {**state, "head.w": torch.ones(1)}}, path)
    return str(path)


def pretrained(checkpoint, prefix="backbone.", **settings) -> FineViT:
    config = {"type": "Pretrained", "checkpoint": checkpoint, "prefix": prefix}
    return FineViT(arch=SMALL, init_cfg=config, **settings)


class Classifier(BaseModel):
    """As OpenMMLab's: a backbone and more."""

    def __init__(self, backbone) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(32, 2)

    def forward(self, images):
        return self.head(self.backbone(images)[0].mean((2, 3)))


@pytest.mark.parametrize("prefix", ["backbone.", "backbone"])
def test_what_is_loaded_is_told_in_a_line(tmp_path, prefix):
    file = saved(tmp_path / "a.pth")
    model = Classifier(pretrained(file, prefix, frozen=True))
    with told() as lines:
        model.init_weights()
        model(IMAGES)
    tensors = len(model.backbone.state_dict())
    assert f"encoder: {tensors} tensors from {file!r} (prefix 'backbone.')" in lines
    of_encoder = [line for line in lines if line.startswith("\nbackbone.")]
    assert len(of_encoder) == len(list(model.backbone.parameters()))
    assert all(f"loaded from {file}" in line and "same before and after" not in line for line in of_encoder)
    assert not any("RANDOM" in line for line in lines)


def test_a_prefix_of_nothing_is_told_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"'encoder.': no weights of the file begin so, but with backbone, head; set"):
        pretrained(saved(tmp_path / "a.pth"), "encoder.").init_weights()


@pytest.mark.parametrize("freeze", ["frozen", "requires_grad", "lora"])
def test_frozen_random_weights_are_warned_of_under_any_runner(freeze):
    backbone = pretrained(None, frozen=freeze == "frozen")
    if freeze != "frozen":
        backbone.requires_grad_(False)
    if freeze == "lora":
        backbone.blocks[0].attention.qkv.lora_down = nn.Linear(32, 2)
    model = Classifier(backbone)
    with told() as lines:
        model.init_weights()
        with torch.no_grad():
            model(IMAGES)
        assert not any("RANDOM" in line for line in lines)
        for _ in range(2):
            model(IMAGES)
    (line,) = [line for line in lines if "RANDOM" in line]
    assert "it is frozen" in line if freeze != "lora" else "of it is frozen" in line
    assert "--cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT" in line
    assert any("drawn at random by FineViT" in text for text in lines)


def test_what_is_trained_or_loaded_later_is_not_warned_of(tmp_path):
    tuned, later = Classifier(pretrained(None)), Classifier(pretrained(None, frozen=True))
    load_state_dict(later, torch.load(saved(tmp_path / "a.pth"))["state_dict"], strict=False)  # as load_from does it
    with told() as lines:
        tuned(IMAGES)
        later(IMAGES)
    assert not later.backbone.random
    assert lines == []


def runner(model, resume=False, **paramwise) -> SimpleNamespace:
    wrapper = build_optim_wrapper(model, {"optimizer": {"type": "SGD", "lr": 1.0}, "paramwise_cfg": paramwise})
    return SimpleNamespace(model=model, optim_wrapper=wrapper, _resume=resume, _load_from="a.pth")


def test_a_rate_of_zero_freezes_too():
    model = Classifier(pretrained(None))
    with told() as lines:
        OriginsHook().before_train_iter(runner(model), 0)
        assert not any("RANDOM" in line for line in lines)
        OriginsHook().before_train_iter(runner(model, custom_keys={"backbone": {"lr_mult": 0.0}}), 0)
        model(IMAGES)
    assert sum("model.backbone: its weights are RANDOM and it is frozen" in line for line in lines) == 1


def test_parts_of_the_stages_are_warned_of():
    load_plugins()
    arch = {"type": "FineViT", "arch": SMALL}
    text = {"type": "TextTransformer", "depth": 1, "dim": 32, "heads": 2}
    two = MODELS.build({"type": "ContrastiveLearning", "backbone": arch, "text_encoder": text, "head": {"type": "SigmoidHead"}})
    llm = {"type": "PlainLLM", "depth": 1, "dim": 32, "heads": 2}
    three = MODELS.build(
        {"type": "LLMAlignment", "backbone": arch, "connector": {"type": "MergeConnector", "hidden": 8}, "llm": llm}
    )
    for model, switch, part in (
        (two, "text_frozen", "text_encoder"),
        (two, "backbone_frozen", "backbone"),
        (three, "llm_frozen", "llm"),
        (three, "connector_frozen", "connector"),
    ):
        with told() as lines:
            OriginsHook().before_train_iter(runner(model), 0)
            assert not any("RANDOM" in line for line in lines)
            setattr(model, switch, True)
            hook = OriginsHook()
            for _ in range(2):
                hook.before_train_iter(runner(model), 0)
            setattr(model, switch, False)
        (line,) = [line for line in lines if "RANDOM" in line]
        assert line.startswith(f"model.{part}: ")
        assert "--cfg-options load_from=CHECKPOINT" in line


@pytest.mark.parametrize(
    ("then", "now", "other"),
    [({"rope_theta": 50.0}, {}, "rope_theta was 50.0, is 100.0"), ({}, {"arch": {**SMALL, "heads": 4}}, "heads was 2, is 4")],
)
def test_another_function_than_the_checkpoints_is_told(tmp_path, then, now, other):
    """Both leave the shapes of the weights as they are; windows are meant to differ."""
    file = saved(tmp_path / "a.pth", **then)
    settings = {"arch": SMALL, "window": 2, **now, "init_cfg": {"type": "Pretrained", "checkpoint": file, "prefix": "backbone"}}
    model = Classifier(FineViT(**settings))
    with told() as lines:
        model.backbone.init_weights()
    (line,) = [line for line in lines if "other than it was trained to" in line]
    assert other in line
    checkpoint = torch.load(file)
    with told() as lines:
        OriginsHook().after_load_checkpoint(runner(model), checkpoint)
    lines = [line for line in lines if "load_from=" in line]
    tensors = len(model.backbone.state_dict())
    assert lines[0] == f"backbone: {tensors} of {tensors} tensors from load_from='a.pth'"
    assert other in lines[1]
    with pytest.raises(ValueError, match=f"resume='a.pth': model.backbone would do other than it was trained to: {other}"):
        OriginsHook().after_load_checkpoint(runner(model, resume=True), checkpoint)


def test_the_same_function_is_not_told_of(tmp_path):
    with told() as lines:
        pretrained(saved(tmp_path / "a.pth", rope_theta=50.0, window=2), rope_theta=50).init_weights()
    assert [line for line in lines if "was" in line] == []
