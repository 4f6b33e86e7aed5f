"""What cannot be built is told with the dotted name of its setting, before the model is built."""

import random
from pathlib import Path

import numpy
import pytest
import torch
from mmengine.registry import HOOKS
from torch import nn

from finevit.config.loading import load_config
from finevit.config.options import ConfigError
from finevit.config.refusals import _random_numbers_kept, path_of, refusals, try_optimizer
from finevit.engine.progress import QuietRunner
from finevit.plugins import load_plugins
from finevit.registry import MODELS, TRANSFORMS

ROOT = Path(__file__).resolve().parents[1]


class Unbuilt(nn.Module):
    """A model that nothing may build."""

    def __init__(self) -> None:
        raise AssertionError("the model was built")


def test_a_component_of_ours_is_told_with_its_place():
    cfg = {"model": {"type": "ContrastiveLearning", "backbone": {"type": "finevit.FineViT", "arch": "huge"}}}
    with pytest.raises(ConfigError, match=r"^model\.backbone: arch: 'huge' is unknown"), refusals(cfg):
        MODELS.build({**cfg["model"]["backbone"], "_scope_": "finevit"})


def test_what_others_raise_is_told_with_the_settings():
    cfg = {"custom_hooks": [{"type": "EMAHook", "begin_iter": -1}]}
    with (
        pytest.raises(ConfigError, match=r"^custom_hooks\.0: EMAHook\(begin_iter=-1\) cannot be used \(AssertionError"),
        refusals(cfg),
    ):
        HOOKS.build(cfg["custom_hooks"][0])


def test_a_tokenizer_that_was_lent_is_told_with_its_owner():
    dataset = {"dataset": {"transforms": [{"type": "finevit.Tokenize", "tokenizer": "/none"}]}}
    cfg = {"model": {"text_encoder": {"type": "TextTransformer", "tokenizer": "/none"}}, "train_dataloader": dataset}
    told = r"^train_dataloader\.dataset\.transforms\.0 \(model\.text_encoder\.tokenizer\): tokenizer='/none'"
    with pytest.raises(ConfigError, match=told), refusals(cfg):
        TRANSFORMS.build(dataset["dataset"]["transforms"][0])


def test_what_no_config_holds_keeps_its_kind():
    with pytest.raises(ZeroDivisionError), refusals({"model": {"type": "X"}}):
        raise ZeroDivisionError


def test_a_part_is_found_without_what_was_added_to_it():
    cfg = {"val_evaluator": [{"type": "A"}, {"type": "A", "k": 3, "of": {"k": 1}}]}
    assert path_of(cfg, {"type": "A", "k": 3, "_scope_": "finevit"}) == "val_evaluator.1"
    assert path_of(cfg, {"type": "A"}) == "val_evaluator.0"
    assert path_of(cfg, {"k": 1}) == "val_evaluator.1.of"
    assert path_of(cfg, {"type": "A", "k": 4}) == ""


def test_what_the_optimiser_refuses_at_its_first_step_is_told_before():
    wrapper = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 1.0, "norm_type": "abc"}}
    cfg = {"optim_wrapper": wrapper}
    with pytest.raises(ConfigError, match=r"^optim_wrapper: OptimWrapper\(.*'norm_type': 'abc'.*could not convert"), refusals(cfg):
        try_optimizer(cfg)
    try_optimizer({"optim_wrapper": {**wrapper, "clip_grad": {"max_norm": 1.0}, "paramwise_cfg": {"norm_decay_mult": 0.0}}})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train_dataloader.dataset.source.level": "none"}, r"^train_dataloader\.dataset\.source: level='none'"),
        ({"val_dataloader.shuffle": True}, r"^val_dataloader: .*shuffle=True.* cannot be used"),
        ({"default_hooks.checkpoint.save_best": "none"}, r"^default_hooks\.checkpoint: .*save_best='none'.* cannot be used"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_data_and_hooks_are_built_before_the_model(change, told, tmp_path):
    load_plugins()
    cfg = load_config(ROOT / "configs/finevit_tiny_stage1.py", change)
    cfg.work_dir, cfg.model = str(tmp_path), {"type": Unbuilt}
    cfg.visualizer, cfg.experiment_name = {"type": "Visualizer"}, f"refused_{next(iter(change))}"
    with pytest.raises(ConfigError, match=told), refusals(cfg.to_dict()):
        QuietRunner.from_cfg(cfg)


def test_the_model_is_drawn_from_the_numbers_that_it_had():
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    drawn = torch.rand(1).item(), random.random(), numpy.random.rand()
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    with _random_numbers_kept():
        torch.rand(5), random.random(), numpy.random.rand()
    assert (torch.rand(1).item(), random.random(), numpy.random.rand()) == drawn
