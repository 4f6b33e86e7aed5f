"""A transform says which of its arguments may be scheduled, and nothing else needs to know; and names of before still load."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from finevit.config.loading import load_config
from finevit.config.renamed import rename_settings, rename_weights
from finevit.config.validation import check_config
from finevit.datasets.dataset import NativeImages
from finevit.datasets.transforms.image_transforms import Patchify, ResizeToBudget
from finevit.engine.hooks.exact_resume_hook import ExactResumeHook
from finevit.hub.weights import read_checkpoint
from finevit.registry import TRANSFORMS
from finevit.scenes import Scenes

pytestmark = pytest.mark.usefixtures("scope")

SAMPLER = "train_dataloader.batch_sampler"


class Darken:
    """All that a new scheduled quantity takes."""

    scheduled = ("shades",)

    def __init__(self, *, shades: int = 255, least: int = 0) -> None:
        if not least <= shades <= 255:
            raise ValueError(f"Darken.shades={shades!r}: give a whole number up to 255")
        self.top = shades  # what is derived from the argument follows it

    def __call__(self, sample: dict) -> dict:
        return {**sample, "image": np.minimum(sample["image"], np.uint8(self.top))}


@pytest.fixture
def darken():
    TRANSFORMS.register_module(name="Darken", module=Darken)
    yield {"type": "Darken"}
    TRANSFORMS.module_dict.pop("Darken")


RAMP = {"type": "Linear", "begin_value": 200, "end_value": 0, "end": 8}


def stage1(darken: dict, schedules: dict, **options: object) -> Config:
    small = {"train_dataloader.batch_size": 2, "train_dataloader.num_workers": 0, "train_cfg.max_iters": 8}
    sizes = {f"{SAMPLER}.resolution.side": 56, "log_level": "ERROR"}
    cfg = load_config("configs/finevit_tiny_stage1.py", {**small, **sizes, f"{SAMPLER}.schedules": schedules, **options})
    cfg.model.backbone.arch = {"depth": 1, "dim": 16, "heads": 1, "mlp_dim": 16}
    cfg.model.teacher = {"type": "RandomFeatureTeacher", "dim": 16}
    cfg.train_dataloader.dataset.transforms.insert(0, darken)
    return cfg


@pytest.mark.parametrize("workers", [0, 1])
def test_a_scheduled_argument_touches_its_transform_alone(darken, workers):
    cfg = stage1(darken, {"Darken": {"shades": RAMP}}, **{"train_dataloader.num_workers": workers})
    check_config(cfg)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    brightest = [int(batch["images"].pixels.max()) for _, batch in zip(range(5), loader, strict=False)]
    assert brightest == [200, 175, 150, 125, 100]
    loader.dataset[0]  # a plain index, as evaluations ask, gets what the config says
    assert loader.dataset[0]["patches"].max() > 200


def test_it_is_planned_and_trained(darken, tmp_path, monkeypatch):
    from finevit.planning import planner
    from finevit.planning.planner import make_plan
    from finevit.visualization.plan import rows, scheduled_charts

    cfg = stage1(darken, {"Darken": {"shades": RAMP}}, work_dir=str(tmp_path), experiment_name=tmp_path.name)
    monkeypatch.setattr(planner, "RECORDS", 8)
    plan = make_plan(cfg, name="x", progress=lambda line: None)
    values = {point.step: point.values["Darken.shades"] for point in plan.points}
    assert (values[0], values[4], values[7]) == (200, 100, 25)
    assert "Darken.shades" in rows(plan)[0]
    assert "Darken.shades" in [chart.title for chart in scheduled_charts(plan)]
    cfg.update(custom_hooks=[{"type": "ExactResumeHook"}], val_dataloader=None, val_cfg=None, val_evaluator=None)
    cfg.default_hooks.checkpoint.interval = 8
    Runner.from_cfg(cfg).train()
    facts = read_checkpoint(tmp_path / "iter_8.pth", setting="", remedy="")["meta"]["data_order"]
    assert facts[f"{SAMPLER}.schedules.Darken.shades"] == str(RAMP)


@pytest.mark.parametrize(
    ("schedules", "said"),
    [
        ({"Darkne": {"shades": RAMP}}, r"Darkne has no effect without Darkne: add it to .*did you mean 'Darken'"),
        ({"Darken": {"shade": RAMP}}, r"Darken.shade is no argument of Darken that may be scheduled \(did you mean 'shades'"),
        ({"Darken": {"least": RAMP}}, r"least is no argument of .* these may: shades \(the class attribute Darken.scheduled names"),
        ({"Patchify": {"patch": RAMP}}, r"Patchify.patch is no .* of this loader these may be scheduled: Darken.shades"),
        ({"Darken": {"shades": 3}}, r"schedules.Darken.shades=3: give a schedule, such as dict\(type='Constant', value=3\)"),
        ({"Darken": {"shades": {**RAMP, "begin_value": 300}}}, r"Darken.shades is 300 at step 0: Darken.shades=300: give a whole"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(darken, schedules, said):
    cfg = stage1(darken, schedules)
    with pytest.raises(ValueError, match=said):  # noqa: PT012
        check_config(cfg)
        Runner.build_dataloader(cfg.train_dataloader, seed=0)
    with pytest.raises(ValueError, match=said):
        Runner.build_dataloader(cfg.train_dataloader, seed=0)


# Names of before

CONSTANT = {"type": "Constant", "value": 64}
OLD = {"text_length": CONSTANT, "patch_drop": {"type": "Constant", "value": 0.5}, "mixture": None}


@pytest.fixture
def warned(monkeypatch) -> list[str]:
    said: list[str] = []
    keep = lambda text, logger, level: said.append(text) if level == logging.WARNING else None  # noqa: E731
    monkeypatch.setattr("finevit.config.renamed.print_log", keep)
    return said


def test_a_config_of_before_loads_with_a_warning_for_each_name(tmp_path, warned):
    new = load_config("configs/finevit_tiny_stage2.py")
    old = Config(new.to_dict())
    length = old.train_dataloader.batch_sampler.pop("schedules").Tokenize.max_seq_len
    old.train_dataloader.batch_sampler.text_length = length
    old.dump(tmp_path / "old.py")
    loaded = load_config(tmp_path / "old.py")
    check_config(loaded)
    assert loaded.to_dict() == new.to_dict()
    assert warned == [f"{SAMPLER}.text_length is called {SAMPLER}.schedules.Tokenize.max_seq_len now: rename it"]


def test_what_a_name_means_may_depend_on_the_transforms_beside_it(warned):
    loaders = {
        f"{name}_dataloader": {"batch_sampler": dict(OLD), "dataset": {"transforms": [{"type": f"finevit.{kind}"}]}}
        for name, kind in {"train": "Tokenize", "val": "TokenizeDialogue"}.items()
    }
    rename_settings(loaders)
    rest = {"DropPatches": {"ratio": OLD["patch_drop"]}, "AskQuestions": {"task_weights": None}}
    assert loaders["train_dataloader"]["batch_sampler"] == {"schedules": {"Tokenize": {"max_seq_len": CONSTANT}, **rest}}
    assert loaders["val_dataloader"]["batch_sampler"] == {"schedules": {"TokenizeDialogue": {"max_seq_len": CONSTANT}, **rest}}
    assert len(warned) == 6


def test_an_option_of_before_is_the_one_of_today(warned):
    cfg = load_config("configs/finevit_tiny_stage2.py", {f"{SAMPLER}.text_length.milestones": [(0, 33)]})
    assert cfg.train_dataloader.batch_sampler.schedules.Tokenize.max_seq_len.milestones == [(0, 33)]
    assert len(warned) == 1


def test_a_config_of_before_overrides_the_base_of_today_that_it_stands_on(tmp_path, warned):
    """Whichever file is merged last wins, as for any setting; a name of before merges into a dict as that of today would."""
    (tmp_path / "old.py").write_text(
        "_base_ = 'finevit::finevit_tiny_stage2.py'\n"
        "model = dict(head=dict(scale=5.0))\n"
        "train_dataloader = dict(batch_sampler=dict(text_length=dict(milestones=[(0, 32)])))\n"
        "val_dataloader = dict(dataset=dict(text_length=32))\n"
    )
    cfg = load_config(tmp_path / "old.py")
    check_config(cfg)
    assert cfg.model.head.to_dict() == {"type": "SigmoidHead", "embed_dim": 256, "logit_scale": 5.0, "logit_bias": -10.0}
    length = cfg.train_dataloader.batch_sampler.schedules.Tokenize.max_seq_len
    assert length == {"type": "Milestones", "milestones": [(0, 32)]}
    assert cfg.val_dataloader.dataset.max_seq_len == 32
    assert len(warned) == 3
    (tmp_path / "new.py").write_text("_base_ = 'old.py'\nmodel = dict(head=dict(logit_scale=7.0))\n")
    assert load_config(tmp_path / "new.py").model.head.logit_scale == 7
    (tmp_path / "both.py").write_text("_base_ = 'old.py'\nmodel = dict(head=dict(logit_scale=7.0, scale=6.0))\n")
    with pytest.raises(ValueError, match=r"model\.head\.scale is called model\.head\.logit_scale now, and both are set"):
        load_config(tmp_path / "both.py")


def test_names_of_before_in_every_place_become_those_of_today():
    settings = {
        "model": {
            "backbone": {"type": "FineViT", "arch": {"hidden": 8}, "recompute": True},
            "text_encoder": {"type": "TextTransformer", "hidden": 8},
            "connector": {"type": "MergeConnector", "hidden": 8},
            "head": {"type": "SigmoidHead", "scale": 2.0, "bias": -3.0},
        },
        "val_dataloader": {"collate_fn": {"type": "finevit.pack_dialogues", "keys": ["asked", "id"]}},
        "train_dataloader": {"dataset": {"type": "NativeImages", "text_length": 9}},
    }
    rename_settings(settings, quiet=True)
    assert settings == {
        "model": {
            "backbone": {"type": "FineViT", "arch": {"mlp_dim": 8}, "activation_checkpointing": True},
            "text_encoder": {"type": "TextTransformer", "mlp_dim": 8},
            "connector": {"type": "MergeConnector", "mlp_dim": 8},
            "head": {"type": "SigmoidHead", "logit_scale": 2.0, "logit_bias": -3.0},
        },
        "val_dataloader": {"collate_fn": {"type": "finevit.pack_dialogues", "keys": ["questions", "id"]}},
        "train_dataloader": {"dataset": {"type": "NativeImages", "max_seq_len": 9}},
    }


def test_weights_of_before_get_their_names_in_place_and_in_order(warned):
    """A head of Stage II alone: other models have a ``head.bias`` of their own."""
    weights = {"module.head.log_scale": 1, "module.head.bias": 2, "module.head.image.weight": 3}
    for _ in range(2):  # a run reads its checkpoint several times
        found = dict(weights)
        rename_weights(found)
    assert list(found.items()) == [("module.head.logit_scale", 1), ("module.head.logit_bias", 2), ("module.head.image.weight", 3)]
    assert len(warned) == 2
    assert "head.bias are called module.head.logit_bias now" in "".join(warned)
    other = {"head.bias": 1}
    rename_weights(other)
    assert other == {"head.bias": 1}


def test_both_names_are_refused(tmp_path):
    new = f"{SAMPLER}.schedules.Tokenize.max_seq_len"
    with pytest.raises(ValueError, match=rf"{SAMPLER}.text_length is called {new} now, and both are set; take .*text_length out"):
        load_config("configs/finevit_tiny_stage2.py", {SAMPLER: {"text_length": CONSTANT}})
    both = {f"{SAMPLER}.text_length.type": "Constant", f"{new}.type": "Constant"}
    with pytest.raises(ValueError, match=rf"text_length.type is called {new}.type now, and both are given"):
        load_config("configs/finevit_tiny_stage2.py", both)


def resumed(cfg: Config) -> SimpleNamespace:
    dataset = SimpleNamespace(metainfo={"source": "scenes"}, seed=0)
    loader = SimpleNamespace(dataset=dataset, batch_sampler=SimpleNamespace(batch_size=48, sampler=range(9)))
    return SimpleNamespace(cfg=cfg, train_dataloader=loader, seed=0, world_size=1, _resume=True)


def test_a_checkpoint_of_before_resumes_exactly_and_only_as_it_was():
    cfg = load_config("configs/finevit_tiny_stage2.py", {"train_cfg.max_iters": 100})
    facts = ExactResumeHook._facts(resumed(cfg))
    length = facts.pop(f"{SAMPLER}.schedules.Tokenize.max_seq_len")
    before = {f"{SAMPLER}.{name}": "None" for name in ("patch_drop", "mixture", "close_up", "painted")}
    before |= {f"{SAMPLER}.text_length": length}
    ExactResumeHook().after_load_checkpoint(resumed(cfg), {"meta": {"data_order": {**facts, **before}}})
    for name, value, said in (
        ("text_length", str(CONSTANT), r"schedules.Tokenize.max_seq_len: \{'type': 'Constant', 'value': 64\} then, "),
        ("patch_drop", str(OLD["patch_drop"]), r"schedules.DropPatches.ratio: \{.*\} then, None now"),
    ):
        order = {**facts, **before, f"{SAMPLER}.{name}": value}
        with pytest.raises(ValueError, match=rf"Changed:\n  {SAMPLER}.{said}"):
            ExactResumeHook().after_load_checkpoint(resumed(cfg), {"meta": {"data_order": order}})


def test_a_transform_may_be_given_built_and_is_then_not_scheduled():
    images = NativeImages(source=Scenes(level="easy", split="val", length=1), transforms=[ResizeToBudget(), Patchify()])
    assert images[0]["shape"] == (26, 10)
    with pytest.raises(ValueError, match=r"dataset\.transforms: Patchify is scheduled; give its config, a dict, instead"):
        images.transforms_at({"Patchify": {"patch": 28}})
