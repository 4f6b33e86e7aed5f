"""Configs: every mistake is found before anything is built, named with its place, and answered with a did-you-mean."""

import argparse
import copy
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from torch.utils.data import DataLoader, Dataset
from yapf.yapflib import yapf_api

from finevit.config import own_data
from finevit.config.loading import ConfigError, _formatted_once, load_config
from finevit.config.rules import resolve_fractions
from finevit.config.validation import check_config
from finevit.contracts import Record
from finevit.datasets.readers.files import FileSource, Skipped
from finevit.engine.cli import Options, user_errors
from finevit.engine.eval_caveats import seen

pytestmark = pytest.mark.usefixtures("plugins")

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(ROOT.glob("configs/*.py"))
TINY = ROOT / "configs/finevit_tiny_stage1.py"


def mistakes(**options: object) -> str:
    """What is said of the tiny config with overrides; ``__`` stands for a dot."""
    with pytest.raises(ConfigError) as caught:
        check_config(load_config(TINY, {name.replace("__", "."): value for name, value in options.items()}))
    return str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_sound(path):
    check_config(load_config(path))


@pytest.mark.parametrize(
    "options",
    [
        {"train_dataloader.num_workers": 0, "train_dataloader.persistent_workers": False},
        {"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.loss_scale": "dynamic"},
        {"optim_wrapper.accumulative_counts": 4},
        {"optim_wrapper.optimizer": {"_delete_": True, "type": "SGD", "lr": 0.1, "momentum": 0.9}},
        {"train_cfg": {"_delete_": True, "by_epoch": False, "max_iters": 3}},
        {"default_hooks.checkpoint.priority": "LOW"},
        {"randomness.deterministic": True},
        {"model.backbone.init_cfg": {"type": "TruncNormal", "layer": "Linear", "std": 0.02}},
        {"val_evaluator": [{"type": "DumpResults", "out_file_path": "/nowhere/x.pkl"}]},
        {
            "param_scheduler.0": {
                "type": "LinearLR",
                "start_factor": 0.1,
                "by_epoch": True,
                "convert_to_iter_based": True,
            }
        },
        {"custom_hooks.0": {"type": "ProfilerHook", "on_trace_ready": {"type": "tb_trace"}}},
        {"model": {"_delete_": True, "type": "unittest.mock.Mock", "nms": {"type": "soft_nms"}}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_nothing_sound_is_refused(options):
    check_config(load_config(TINY, options))


@pytest.mark.parametrize(("part", "kind"), [("teacher", "HuggingFaceTeacher"), ("text_encoder", "HuggingFaceText")])
def test_models_of_hugging_face_are_named_in_options(part, kind):
    """``model.teacher.model`` is a name, though ``model`` at the top is a component."""
    config = ROOT / f"configs/finevit_l_stage{1 if part == 'teacher' else 2}.py"
    cfg = load_config(config, {f"model.{part}.type": kind, f"model.{part}.model": "owner/name"})
    check_config(cfg)
    assert cfg.model[part].model == "owner/name"


@pytest.mark.parametrize("config", ["finevit_tiny_stage3.py", "finevit_l_stage3.py"])
def test_weights_of_a_language_model_bring_their_own_tokenizer(config):
    options = {"model.llm.model": "smollm2-135m"}
    cfg = load_config(TINY.with_name(config), options)
    assert (cfg.model.llm.model, cfg.model.llm.get("config"), cfg.model.llm.get("tokenizer")) == ("smollm2-135m", None, None)
    tokenizers = [step.tokenizer for step in cfg.train_dataloader.dataset.transforms if step["type"] == "TokenizeDialogue"]
    assert tokenizers == ["smollm2-135m"]
    check_config(cfg)
    kept = load_config(TINY.with_name(config), {**options, "model.llm.tokenizer": "scenes-chat"})
    assert kept.model.llm.tokenizer == "scenes-chat"


@pytest.mark.parametrize("inside", [False, True])
def test_a_language_model_of_another_type_brings_its_own_tokenizer(inside, monkeypatch):
    class Own:
        tokenizer = "" if inside else "own"

    class Taken:
        def __init__(self, *, tokenizer: str = "own") -> None:
            pass

    monkeypatch.setitem(MODELS.module_dict, "OwnLLM", Taken if inside else Own)
    cfg = load_config(TINY.with_name("finevit_tiny_stage3.py"), {"model.llm.type": "OwnLLM"})
    assert cfg.model.llm == {"type": "OwnLLM"}
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert [step.tokenizer for step in loader.dataset.transforms if step["type"] == "TokenizeDialogue"] == ["own"]


@pytest.mark.parametrize("part", ["llm", "backbone", "connector"])
def test_a_part_that_is_none_is_missing(part):
    with pytest.raises(ConfigError, match=f"model.{part} is missing: LLMAlignment needs it"):
        check_config(load_config(TINY.with_name("finevit_tiny_stage3.py"), {f"model.{part}": None}))


def test_the_path_of_a_language_model_is_named_where_it_was_given():
    with pytest.raises(ConfigError) as raised:
        check_config(load_config(TINY.with_name("finevit_l_stage3.py"), {"model.llm.model": "/none/Qwen3-8B"}))
    assert "model.llm.model='/none/Qwen3-8B'" in str(raised.value)
    assert "transforms" not in str(raised.value)


def test_without_workers_their_settings_go():
    loader = load_config(TINY, {"train_dataloader.num_workers": 0}).train_dataloader
    assert "persistent_workers" not in loader


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trian_cfg.max_iters": 2}, "trian_cfg is no known setting (did you mean 'train_cfg'?)"),
        (
            {"train_cfg.max_iter": 2},
            "train_cfg.max_iter: StatelessTrainLoop has no argument 'max_iter' (did you mean 'max_iters'?)",
        ),
        (
            {"model.backbone.type": "FineVit"},
            "model.backbone.type='FineVit' is no known model (did you mean 'FineViT'?)",
        ),
        ({"model.backbone.type": "finevit.FineVit"}, "model.backbone.type='finevit.FineVit' is no known model"),
        ({"model.backbone.arhc": 3}, "model.backbone.arhc: FineViT has no argument 'arhc' (did you mean 'arch'?)"),
        (
            {"model.backbon.depth": 3},
            "model.backbon: MaskedDistillation has no argument 'backbon' (did you mean 'backbone'?)",
        ),
        ({"model": {"_delete_": True, "backbone": {}}}, "model: which one? Set model.type to one of"),
        ({"model": 3}, "model=3: give a dict with a type"),
        (
            {"optim_wrapper.optimizer.lrr": 1},
            "optim_wrapper.optimizer.lrr: TimmMuon has no argument 'lrr' (did you mean 'lr'?)",
        ),
        ({"optim_wrapper.clip_gard": {}}, "optim_wrapper.clip_gard: BFloat16OptimWrapper has no argument"),
        ({"optim_wrapper.clip_grad.max_nrom": 1}, "max_nrom is no known setting (did you mean 'max_norm'?)"),
        ({"optim_wrapper.paramwise_cfg.flat_decay": 0}, "(did you mean 'flat_decay_mult'?)"),
        ({"param_scheduler.0.end_facter": 1}, "param_scheduler.0.end_facter: LinearLR has no argument"),
        ({"param_scheduler.0.type": "LinearLr"}, "is no known parameter scheduler (did you mean 'LinearLR'?)"),
        (
            {"train_dataloader.num_worker": 1},
            "train_dataloader.num_worker is no known setting (did you mean 'num_workers'?)",
        ),
        (
            {"train_dataloader.dataset.source.levl": "easy"},
            "train_dataloader.dataset.source.levl: Scenes has no argument",
        ),
        (
            {"train_dataloader.dataset.transforms.0.type": "Patchfy"},
            "transforms.0.type='Patchfy' is no known transform",
        ),
        (
            {"train_dataloader.batch_sampler.resolution.type": "Constantresolution"},
            "(did you mean 'ConstantResolution'?)",
        ),
        (
            {"train_dataloader.batch_sampler.resolution.sid": 1},
            "resolution.sid: ConstantResolution has no argument 'sid'",
        ),
        ({"default_hooks.chekpoint.interval": 5}, "default_hooks.chekpoint: MMEngine has no default hook"),
        ({"default_hooks.logger.intervall": 5}, "default_hooks.logger.intervall: ProgressHook has no argument"),
        ({"custom_hooks.0.type": "FineViT"}, "custom_hooks.0.type='FineViT' is a model, not a hook"),
        (
            {"model.teacher": {"type": "HuggingFaceTeacher"}},
            "model.teacher.model is missing: HuggingFaceTeacher needs it",
        ),
        ({"env_cfg.mp_cfg.mp_start_metod": "fork"}, "env_cfg.mp_cfg.mp_start_metod is no known setting"),
        ({"randomness.sed": 1}, "randomness.sed is no known setting (did you mean 'seed'?)"),
        (
            {"visualizer.vis_backends.0.type": "LocalVisBackends"},
            "is no known vis backend (did you mean 'LocalVisBackend'?)",
        ),
        ({"custom_hooks.7.max_share": 1}, "custom_hooks.7.max_share: ExactResumeHook has no argument 'max_share'; it takes none"),
        (
            {"train_dataloader.dataset.transforms": [{"type": "Label", "share": 0.5}]},
            "transforms.0.share: Label has no argument 'share'; it takes none",
        ),
        ({"val_evaluator": None}, "val_evaluator is missing; MMEngine needs val_dataloader, val_cfg, val_evaluator"),
        ({"model": None}, "model is missing"),
        (
            {"train_dataloader.batch_size.x": 1},
            "--cfg-options train_dataloader.batch_size.x=1: does not fit the config",
        ),
        ({"custom_hooks.99.type": "X"}, "--cfg-options custom_hooks.99.type=X: does not fit the config"),
        ({"model.backbone": "FineViT"}, "model.backbone='FineViT': give a dict with a type"),
        ({"custom_hooks": [3]}, "custom_hooks.0=3: give a dict with a type"),
        ({"load_from": "configs_/x.pth"}, "load_from='configs_/x.pth': "),
        ({"model.teacher": {"type": "HuggingFaceTeacher", "model": "./no/dino"}}, "model.teacher.model='./no/dino': "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes(options, message):
    assert message in mistakes(**options)


def test_all_mistakes_together():
    said = mistakes(trian_cfg=1, model__backbone__arhc=1, train_cfg__max_iter=1)
    assert said.count("did you mean") == 3


@pytest.mark.parametrize(
    ("schedule", "transform"),
    [("ratio", "DropPatches"), ("probability", "CropToRegion"), ("task_weights", "AskQuestions")],
)
def test_a_schedule_that_no_transform_follows_is_told(schedule, transform):
    cfg = load_config(TINY)
    cfg.train_dataloader.batch_sampler.schedules = {transform: {schedule: {"type": "Constant", "value": 0.0}}}
    place = "train_dataloader.batch_sampler.schedules"
    said = rf"{place}.{transform} has no effect without {transform}: add it to train_dataloader.dataset"
    with pytest.raises(ValueError, match=said):
        check_config(cfg)
    cfg.train_dataloader.dataset.transforms.append({"type": transform})
    check_config(cfg)


def test_missing_paths_name_what_is_missing(tmp_path):
    (tmp_path / "images").mkdir()
    said = mistakes(data_root=str(tmp_path / "image" / "train"))
    assert f"{str(tmp_path / 'image')!r} does not exist (did you mean 'images'?)" in said
    assert said.count("does not exist") == 1


def test_data_root_replaces_the_embedded_scenes(tmp_path):
    cfg = load_config(TINY, {"data_root": str(tmp_path)})
    assert cfg.train_dataloader.dataset.source == {"type": "OpenData", "data_root": str(tmp_path), "split": "train"}
    assert cfg.val_dataloader.dataset.source == {"type": "OpenData", "data_root": str(tmp_path), "split": "val"}
    check_config(cfg)


def sources(file: Path = TINY, **given: object) -> dict[str, dict]:
    """The sources of the dataloaders of a config with options; ``__`` stands for a dot."""
    cfg = load_config(file, {name.replace("__", "."): value for name, value in given.items()})
    check_config(cfg)
    return {name: cfg[f"{name}_dataloader"].dataset.source.to_dict() for name in ("train", "val")}


@pytest.fixture
def places(tmp_path) -> list[str]:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    return [str(tmp_path / name) for name in ("a", "b", "c")]


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What loading a config says."""
    lines: list[str] = []
    monkeypatch.setattr(own_data, "print_log", lambda line, **_: lines.append(line))
    return lines


def own(path: str, split: str, **more: object) -> dict:
    return {"type": "OpenData", "data_root": path, "split": split, **more}


def test_what_was_said_of_the_source_stays_with_own_data(places):
    a, b, _ = places
    val = "val_dataloader__dataset__source__"
    found = sources(data_root=a, train_dataloader__dataset__source__split="all", **{f"{val}holdout": 0.1})
    assert found == {"train": own(a, "all"), "val": own(a, "val", holdout=0.1)}
    assert sources(data_root=a, **{f"{val}data_root": b}) == {"train": own(a, "train"), "val": own(b, "all")}
    assert sources(data_root=a, **{f"{val}data_root": b, f"{val}split": "val"})["val"] == own(b, "val")
    found = sources(data_root=a, **{f"{val}type": "JsonLines", f"{val}data_root": b, f"{val}image_root": a})["val"]
    assert found == {"type": "JsonLines", "data_root": b, "split": "val", "image_root": a}
    assert sources(data_root=a, **{f"{val}type": "Karpathy", f"{val}annotations": b})["val"]["annotations"] == b


def test_a_separate_validation_set_is_shown_whole(places):
    a, b, _ = places
    assert sources(data_root=a, val_data_root=b) == {"train": own(a, "train"), "val": own(b, "all")}
    assert sources(data_root=a, val_data_root=b, val_dataloader__dataset__source__split="val")["val"] == own(b, "val")
    found = sources(val_data_root=b)
    assert (found["train"]["type"], found["val"]) == ("Scenes", own(b, "all"))


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("val_dataloader.dataset.source.holdot", 0.1, "OpenData has no argument 'holdot' (did you mean 'holdout'?)"),
        ("train_dataloader.dataset.source.level", "hard", "OpenData has no argument 'level'; it takes data_root, holdout, split"),
        ("train_dataloader.dataset.source.data_root", "/b", "both say where these images lie; leave one out"),
    ],
)
def test_what_own_data_has_no_use_for_is_told(tmp_path, option, value, said):
    with pytest.raises(ConfigError) as caught:
        check_config(load_config(TINY, {"data_root": str(tmp_path), option: value}))
    assert said in str(caught.value)


def test_a_validation_source_of_a_config_file_is_not_overwritten(places, tmp_path, said):
    a, b, c = places
    source = "dict(_delete_=True, type='JsonLines', data_root={!r}, split={!r})"
    lines = [
        f"{name}_dataloader = dict(dataset=dict(source={source.format(*own)}))"
        for name, own in (("train", (a, "all")), ("val", (b, "all")))
    ]
    file = tmp_path / "own.py"
    file.write_text("\n".join([f"_base_ = [{str(TINY)!r}]", *lines]))
    lines_of = {"type": "JsonLines", "split": "all"}
    assert sources(file) == {"train": {**lines_of, "data_root": a}, "val": {**lines_of, "data_root": b}}
    assert sources(file, data_root=c) == {"train": {**lines_of, "data_root": c}, "val": {**lines_of, "data_root": b}}
    assert f"train_dataloader.dataset.source.data_root={a!r} gives way to data_root={c!r}" in said
    assert sources(file, val_data_root=c)["val"] == {**lines_of, "data_root": c}
    file.write_text(file.read_text() + f"\nval_data_root = {a!r}")
    with pytest.raises(ConfigError, match=r"val_data_root=.*, but val_dataloader\.dataset\.source\.data_root=.* is set too"):
        load_config(file)


def test_a_saved_config_reads_as_it_was_and_follows_data_that_moved(places, tmp_path):
    a, b, c = places
    load_config(TINY, {"data_root": a, "val_data_root": b}).dump(tmp_path / "saved.py")
    assert sources(tmp_path / "saved.py") == {"train": own(a, "train"), "val": own(b, "all")}
    assert sources(tmp_path / "saved.py", data_root=c, val_data_root=a) == {"train": own(c, "train"), "val": own(a, "all")}
    load_config(TINY, {"data_root": a}).dump(tmp_path / "saved.py")
    assert sources(tmp_path / "saved.py", data_root=c) == {"train": own(c, "train"), "val": own(c, "val")}
    assert sources(tmp_path / "saved.py", val_data_root=b) == {"train": own(a, "train"), "val": own(b, "all")}


def test_paths_of_what_is_not_built_need_not_be_there(tmp_path, said):
    file = tmp_path / "own.py"
    data = "dict(type='mmpretrain.ImageNet', data_root='/none/imagenet')"
    test = f"test_dataloader = dict(dataset={data}, sampler=dict(type='DefaultSampler'), batch_size=1)"
    file.write_text(f"_base_ = [{str(TINY)!r}]\n{test}\ntest_cfg = dict()\ntest_evaluator = []")
    with pytest.raises(ConfigError, match=r"test_dataloader\.dataset\.data_root='/none/imagenet': '/none' does not exist"):
        check_config(load_config(file))
    check_config(load_config(file), unused=["test_dataloader"])
    plain = "default_scope = 'mmelse'\ndata_root = 'data/coco/'\nmodel = dict(type='unittest.mock.Mock')"
    for text in (plain, plain.replace("mmelse", "finevit").replace("data/", "no/")):
        file.write_text(text)
        check_config(load_config(file))
    assert "data_root='no/coco/': no dataloader of this config has a dataset with a source that could read it" in said
    with pytest.raises(ConfigError, match="data_root='/x': no dataloader of this config"):
        load_config(file, {"data_root": "/x"})


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (("all", "all"), "SEEN IN TRAINING: 40 of 40 images"),
        (("all", "val"), "SEEN IN TRAINING: 7 of 7 images"),
        (("train", "val"), ""),
        (("train", "all"), "SEEN IN TRAINING: 33 of 40 images"),
    ],
)
def test_a_validation_on_trained_images_is_told(tmp_path, splits, said):
    for index in range(40):
        (tmp_path / f"{index}.png").touch()
    train, val = (SimpleNamespace(source=Listed(tmp_path, split)) for split in splits)
    assert seen(train, val) == said
    (tmp_path / "val").mkdir()
    inner = SimpleNamespace(source=Listed(tmp_path / "val", "all"))
    assert seen(train, inner).startswith(f"PERHAPS SEEN IN TRAINING: {tmp_path / 'val'} and {tmp_path}, which is trained on")
    assert seen(SimpleNamespace(source=Listed(tmp_path / "other", "all")), inner) == ""
    assert seen(SimpleNamespace(source=object()), val) == ""


class Listed(FileSource):
    """Forty records of which none can be read."""

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(
            data_root=root, keys=[str(i) for i in range(40)], captioned=0, skipped=Skipped(), split=split, holdout=0.25
        )

    def record(self, row: int) -> Record:
        return Record(id=str(row), image=b"")


STAGE_2 = ROOT / "configs/finevit_tiny_stage2.py"
PICKED, ALL = "train_dataloader.dataset.transforms.0.weights", "val_dataloader.dataset.transforms.2.names"
SCENES = "train_dataloader.dataset.source.captioners"


@pytest.mark.parametrize(
    ("options", "weights", "names"),
    [
        ({}, None, None),
        ({f"{PICKED}.short": 0, f"{PICKED}.long": 1}, {"long": 1, "short": 0}, None),
        ({f"{PICKED}.short": -1}, {"short": -1}, None),
        ({f"{PICKED}.long": 0.9}, {"long": 0.9}, None),
        ({PICKED: {"long": 0.9, "short": 0.1}}, {"long": 0.9, "short": 0.1}, None),
        ({ALL: ["long"]}, None, ["long"]),
        ({ALL: ["short"]}, None, ["short"]),
        ({"train_dataloader.dataset.transforms": [{"type": "PickCaption", "weights": {"long": 1}}]}, {"long": 1}, None),
    ],
    ids=str,
)
def test_with_own_data_only_the_captioners_of_the_embedded_scenes_give_way(tmp_path, options, weights, names):
    """What somebody chose stays, also where own captioners are called as those of the scenes are."""
    cfg = load_config(STAGE_2, {"data_root": str(tmp_path), **options})
    assert cfg.train_dataloader.dataset.transforms[0].get("weights") == weights
    assert cfg.val_dataloader.dataset.transforms[2].get("names") == names
    assert [cfg[f"{name}_dataloader"].dataset.source.get("captioners") for name in ("train", "val")] == [None, None]
    scenes = load_config(STAGE_2, {f"{SCENES}.short": 0.5})
    assert scenes.train_dataloader.dataset.source.captioners == {"long": 0.9, "short": 0.5}
    with pytest.raises(ConfigError, match="OpenData has no argument 'captioners'"):
        check_config(load_config(STAGE_2, {"data_root": str(tmp_path), f"{SCENES}.short": 0.5}))


def test_a_config_of_own_data_keeps_its_weights(tmp_path):
    loader = "dict(dataset=dict(transforms=[dict(type='PickCaption', weights=dict(long=1.0, short=2.0))]))"
    text = f"_base_ = [{str(STAGE_2)!r}]\ndata_root = {str(tmp_path)!r}\ntrain_dataloader = {loader}"
    (tmp_path / "own.py").write_text(text)
    transform = load_config(tmp_path / "own.py").train_dataloader.dataset.transforms[0]
    assert transform == {"type": "PickCaption", "weights": {"long": 1.0, "short": 2.0}}


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("model.text_frozen", "maybe", "True or False"),
        ("model.text_frozen", 1, "True or False"),
        ("model.micro_batch", 0, "a whole number, at least 1, or None"),
        ("model.head.weight", -1, "a finite number, at least 0"),
        ("model.head.weight", float("inf"), "a finite number, at least 0"),
        ("model.head.embed_dim", 0, "a whole number, at least 1"),
        ("model.head.logit_scale", "x", "a number above 0, at most 100"),
        ("model.head.logit_bias", float("nan"), "a finite number"),
        ("model.head.chunk", 2.5, "a whole number, at least 1"),
        ("model.text_encoder.depth", "a", "a whole number, at least 1"),
        ("model.text_encoder.dim", 0, "a whole number, at least 1"),
        ("model.text_encoder.heads", True, "a whole number, at least 1"),
        ("model.text_encoder.context", -3, "a whole number, at least 1"),
        ("model.backbone.drop_path", 1.0, "a number from 0 to below 1"),
        ("train_dataloader.batch_sampler.resolution.milestones", [(0, "wide")], "a side of two patches in pixels, at least 28"),
    ],
)
def test_wrong_values_of_the_model_are_named(option, value, wanted):
    with pytest.raises(ConfigError) as caught:
        check_config(load_config(STAGE_2, {option: value}))
    shown = ".0.1='wide'" if option.endswith("milestones") else f"={value!r}"
    assert str(caught.value) == f"the config cannot be used:\n  {option}{shown}: give {wanted}"


def test_config_files(tmp_path):
    with pytest.raises(ConfigError, match=r"finevit_tiny_stag1.*does not exist \(did you mean '.*finevit_tiny_stage1.py'\?\)"):
        load_config(TINY.with_name("finevit_tiny_stag1.py"))
    (tmp_path / "broken.py").write_text("model = dict(")
    with pytest.raises(ConfigError, match=r"broken.py cannot be read: SyntaxError"):
        load_config(tmp_path / "broken.py")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "based.py").write_text("_base_ = ['./pipe.py']")
    for name in ("pipe.py", "based.py"):
        with pytest.raises(ConfigError, match=rf"{name} cannot be read: OSError: .* a named pipe, not a regular file: .*pipe\.py"):
            load_config(tmp_path / name)
    (tmp_path / "private.py").write_text("_steps = 3\ntrain_cfg = dict(max_iters=_steps)")
    assert load_config(tmp_path / "private.py").to_dict() == {"train_cfg": {"max_iters": 3}}
    with pytest.raises(ConfigError, match="_steps is no known setting"):
        check_config(load_config(tmp_path / "private.py", {"_steps": 4}))


def test_own_errors_are_printed_without_traceback(capsys):
    with pytest.raises(SystemExit) as caught, user_errors():
        load_config("no.py")
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: the config file 'no.py' does not exist")
    with pytest.raises(ValueError, match="invalid literal"), user_errors():
        int("x")


class Refusing(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise ConfigError("x=3: give 4\nor 5") if index == 0 else AssertionError


class Wrong(Refusing):
    def __getitem__(self, index: int) -> int:
        return int("no number of ours")


def test_our_errors_in_workers_are_printed_without_traceback(capsys, monkeypatch):
    """torch hands them on behind the worker's traceback. Those of others keep theirs."""
    monkeypatch.setattr(sys.modules["finevit"], "__file__", str(Path(__file__).parent / "finevit.py"))  # these tests are ours
    with pytest.raises(SystemExit) as caught, user_errors():
        next(iter(DataLoader(Refusing(), num_workers=1)))
    assert (caught.value.code, capsys.readouterr().err) == (2, "error: x=3: give 4\nor 5\n")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="Caught ValueError in DataLoader worker"), user_errors():
        next(iter(DataLoader(Wrong(), num_workers=1)))


def test_option_without_a_value(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=Options)
    assert parser.parse_args(["--cfg-options", "a.b=3", "c=[1,2]"]).cfg_options == {"a.b": 3, "c": [1, 2]}
    with pytest.raises(SystemExit):
        parser.parse_args(["--cfg-options", "max_iters"])
    assert "--cfg-options: 'max_iters' is not of the form KEY=VALUE" in capsys.readouterr().err


def test_inspect_config(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["inspect_config.py", str(TINY), "--cfg-options", "train_cfg.max_iters=7"])
    runpy.run_path(str(ROOT / "tools/inspect_config.py"), run_name="__main__")
    said = capsys.readouterr().out
    (steps,) = [line.split() for line in said.splitlines() if line.startswith("train_cfg.max_iters=")]
    assert steps[:2] == ["train_cfg.max_iters=7", "--cfg-options,"]
    assert " ".join(steps[2:]).startswith("before 600 of configs/finevit_tiny_stage1.py:")
    assert "rule inherit_patch" not in said  # which changed nothing
    assert "FineViT                      finevit.backbones.finevit\n" in said
    assert "LinearResolution             finevit_plugins.schedules  (plugin bundled of finevit 0." in said


def test_shares_of_a_run_become_its_steps():
    """0.6 of 400 steps is step 240; whole numbers stay; a run of one step keeps the last of the milestones that fall together."""

    def schedules(steps: int) -> tuple[list, list, dict]:
        cfg = load_config(ROOT / "configs/finevit_tiny_stage2.py", {"train_cfg.max_iters": steps})
        sampler = cfg.train_dataloader.batch_sampler
        large = load_config(ROOT / "configs/finevit_l_stage2.py", {"train_cfg.max_iters": steps})
        return (
            sampler.resolution.milestones,
            sampler.schedules.Tokenize.max_seq_len.milestones,
            large.train_dataloader.batch_sampler.resolution,
        )

    resolution, length, ramp = schedules(400)
    assert (resolution, length, ramp.end) == ([(0, 84), (240, 112)], [(0, 48), (160, 80), (320, 128)], 400)
    resolution, length, ramp = schedules(1)
    assert (resolution, length, ramp.end) == ([(0, 84), (1, 112)], [(0, 80), (1, 128)], 1)
    whole = {"a": {"milestones": [(0, 1), (7, 2)]}}
    cfg = Config({"resolution": {"begin": 0.9, "end": 1.0}, "schedules": whole, "train_cfg": {"max_iters": 3}})
    resolve_fractions(cfg)
    assert (cfg.resolution, cfg.schedules.a.milestones) == ({"begin": 3, "end": 4}, [(0, 1), (7, 2)])


@pytest.mark.parametrize(
    ("steps", "schedule", "message"),
    [
        (10, {"end": 1.5}, r"resolution\.end: 1\.5 is no step"),
        (None, {"end": 0.5}, r"0\.5 is a share of the run, which needs train_cfg\.max_iters"),
        (10, {"end": "a"}, r"resolution\.end: 'a' is no step; give a whole number, or a share"),
        (10, {"begin": True, "end": 9}, r"resolution\.begin: True is no step"),
        (10, {"milestones": [(0, 56), ("a", 84)]}, r"resolution\.milestones: 'a' is no step; give a whole number, or a share"),
        (10, {"milestones": [(0, 56), (None, 84)]}, r"resolution\.milestones: None is no step"),
    ],
)
def test_what_is_no_step_is_refused(steps, schedule, message):
    with pytest.raises(ValueError, match=message):
        resolve_fractions(Config({"resolution": schedule, "train_cfg": {"max_iters": steps}}))


def test_shares_of_a_mixture_become_steps():
    schedules = {"AskQuestions": {"task_weights": {"counting": {"begin": 0.5, "end": 1.0}}}}
    cfg = Config({"schedules": schedules, "train_cfg": {"max_iters": 10}})
    resolve_fractions(cfg)
    assert cfg.schedules.AskQuestions.task_weights.counting == {"begin": 5, "end": 10}


def test_shares_of_a_learning_rate_become_steps():
    """Of MMEngine's schedulers, whose own milestones are steps."""
    schedulers = [{"begin": 0, "end": 5}, {"begin": 0.25, "end": 0.75}, {"milestones": [3, 4]}]
    cfg = Config({"param_scheduler": schedulers, "train_cfg": {"max_iters": 20}})
    resolve_fractions(cfg)
    assert cfg.param_scheduler == [{"begin": 0, "end": 5}, {"begin": 5, "end": 15}, {"milestones": [3, 4]}]
    with pytest.raises(ValueError, match=r"param_scheduler\.0\.begin: 1\.5 is no step"):
        resolve_fractions(Config({"param_scheduler": [{"begin": 1.5}], "train_cfg": {"max_iters": 20}}))
    for steps, begin in ((100, 53), (2, 1), (1, 0)):  # what begins in the last step of a short run begins within it
        cfg = Config({"param_scheduler": [{"begin": 0.534}], "train_cfg": {"max_iters": steps}})
        resolve_fractions(cfg)
        assert cfg.param_scheduler[-1].begin == begin


def test_the_tiny_stage3_trains_the_connector_first():
    cfg = load_config("configs/finevit_tiny_stage3.py", {"train_cfg.max_iters": 1000})
    (schedules,) = [hook.schedules for hook in cfg.custom_hooks if hook.type == "ScheduleHook"]
    assert {name: schedule.milestones for name, schedule in schedules.items()} == {
        name: [(0, True), (100, False)] for name in ("backbone_frozen", "llm_frozen")
    }
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert [step.get("style") for step in loader.dataset.transforms if step.type == "AskQuestions"] == ["bins100"]


@pytest.mark.parametrize("value", ["model.head=dict(a=1,b=2)", "model.head=[1,2"])
def test_options_that_cannot_be_read_are_answered_with_usage_help(value, capsys):
    import argparse

    from finevit.engine.cli import Options

    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=Options)
    with pytest.raises(SystemExit):
        parser.parse_args(["--cfg-options", value])
    assert "cannot be read; name the settings of a dict one by one: A.B=1 A.C=2" in capsys.readouterr().err


def options(*texts: str) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=Options)
    return parser.parse_args(["--cfg-options", *texts]).cfg_options


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("/x/My Drive", "/x/My Drive"),
        ("/x/cats,dogs", "/x/cats,dogs"),
        ("/x/a=b [1] (2", "/x/a=b [1] (2"),
        ("'/x/My Drive'", "/x/My Drive"),
        ('"/x/a"', "/x/a"),
        ("/x/it's", "/x/it's"),
        ("1e5", "1e5"),
        ("007", "007"),
        ("True", "True"),
        ("[draft", "[draft"),
        ("(a,b)", "(a,b)"),
        ("'None'", "None"),
        ("None", None),
    ],
)
def test_paths_are_taken_as_they_are(typed, path):
    cfg = load_config(TINY, options(*(f"{name}={typed}" for name in ("load_from", "work_dir"))))
    assert (cfg.load_from, cfg.work_dir) == (path, path)


@pytest.mark.parametrize(
    ("config", "typed", "value"),
    [
        ("stage1", ["default_hooks.checkpoint.out_dir=/x/a, b"], "/x/a, b"),
        ("stage1", ["experiment_name=007"], "007"),
        ("stage1", ["model.backbone.init_cfg.type=Pretrained", "model.backbone.init_cfg.checkpoint=/a b,c.pth"], "/a b,c.pth"),
        ("stage1", ["model.teacher.type=HuggingFaceTeacher", "model.teacher.model=/x/1,2 b"], "/x/1,2 b"),
        ("stage2", ["train_dataloader.dataset.source.type=JsonLines", "train_dataloader.dataset.source.image_root=1e5"], "1e5"),
        ("stage3", ["model.llm.tokenizer=/x/[1],2"], "/x/[1],2"),
        ("stage2", ["val_dataloader.dataset.transforms.2.names=[my words,1]"], ["my words", "1"]),
        ("stage2", ["val_dataloader.dataset.transforms.2.names=long,short"], ["long", "short"]),
        ("stage1", ["visualizer.name=my run"], "my run"),
        ("stage1", ["optim_wrapper.optimizer.betas=(0.9,0.99)"], (0.9, 0.99)),
        ("stage1", ["model.mask_ratio=0.5"], 0.5),
        ("stage1", ["randomness.seed=None"], None),
        ("stage1", ["default_hooks.checkpoint.save_best=a/b,c/d"], ["a/b", "c/d"]),
    ],
    ids=str,
)
def test_what_takes_text_is_told_by_signatures(config, typed, value):
    found = load_config(ROOT / f"configs/finevit_tiny_{config}.py", options(*typed))
    for part in typed[-1].partition("=")[0].split("."):
        found = found[int(part)] if part.isdecimal() else found[part]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("1,2", [1, 2]),
        ("[224, 336]", [224, 336]),
        ('"[(a,b)]"', [("a", "b")]),
        ("[(0,48),(10,80)]", [(0, 48), (10, 80)]),
        ("(1,2),(3,4)", [(1, 2), (3, 4)]),
        ('["a,b", c d]', ["a,b", "c d"]),
        ("(a,)", ("a",)),
        ("[]", []),
        ("a photo of", "a photo of"),
        ("it's", "it's"),
        ("true", True),
        ("-1e-4", -1e-4),
        ("", ""),
    ],
)
def test_other_values_are_read_as_openmmlab_reads_them_and_keep_their_spaces(typed, value):
    assert options(f"a.b={typed}") == {"a.b": value}


def test_a_value_that_the_shell_cut_at_a_space_is_told(capsys):
    with pytest.raises(SystemExit):
        options("data_root=/x/My", "Drive")
    assert "'Drive' is not of the form KEY=VALUE; quote a value with spaces" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"model\.mask_ratio=/x/\[1: the brackets of '/x/\[1' do not close"):
        load_config(TINY, options("model.mask_ratio=/x/[1"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"default_hooks.checkpoint.max_keep_ckpt": 1},
            "default_hooks.checkpoint.max_keep_ckpt: StreamingCheckpointHook has no argument",
        ),
        ({"default_hooks.checkpoint.save_last": "yes"}, "default_hooks.checkpoint.save_last='yes': give True or False"),
        ({"train_dataloader.collate_fn._scope_": "finevit"}, "train_dataloader.collate_fn._scope_='finevit': MMEngine hands it"),
        ({"optim_wrapper.optimizer.type": None}, "optim_wrapper.optimizer: which one?"),
        ({"custom_hooks": True}, "custom_hooks=True: give a dict with a type"),
        ({"val_dataloader.dataset": -1}, "val_dataloader.dataset=-1: give a dict with a type"),
        ({"default_hooks.timer": [1]}, "default_hooks"),
        ({"optim_wrapper.paramwise_cfg": 3}, "optim_wrapper.paramwise_cfg=3: give a dict of settings"),
        ({"model.mask_ratio.0": 0.5}, "--cfg-options model.mask_ratio.0=0.5: does not fit the config"),
        ({"default_scope": "../x", "custom_hooks.11.minutes": 1}, "default_scope='../x': give the name of a package"),
        (
            {"val_dataloader.dataset.transforms": []},
            "val_dataloader.dataset.transforms=[]: finevit.pack_samples packs what Patchify",
        ),
        ({"val_dataloader.dataset": None}, "val_dataloader.dataset=None: give a dict with a type"),
        (
            {"train_dataloader.dataset.transforms.0._scope_": "no"},
            "train_dataloader.dataset.transforms.0._scope_='no': the",
        ),
        ({"default_scope": "()"}, "default_scope='()': give the name of a package"),
        (
            {"default_hooks.checkpoint.priority": "abc"},
            "default_hooks.checkpoint.priority='abc': give a whole number from 0 to 100",
        ),
        ({"default_hooks.checkpoint.filename_tmpl": "a"}, "default_hooks.checkpoint.filename_tmpl='a': give a name with {} for"),
        ({"param_scheduler.0.start_factor": 0}, "param_scheduler.0.start_factor=0: give a number above 0"),
        ({"train_dataloader.batch_size": 10**9}, "train_dataloader.batch_size=1000000000: give a whole number from 1 to 1,000,000"),
        ({"train_dataloader.pin_memory": "abc"}, "train_dataloader.pin_memory='abc': give True or False"),
        ({"train_dataloader.timeout": 0.5}, "train_dataloader.timeout=0.5: give seconds, at least 1, or 0: none"),
        ({"randomness.deterministic": "abc"}, "randomness.deterministic='abc': give True or False"),
        ({"default_hooks.sampler_seed": True}, "default_hooks.sampler_seed=True: give a dict with a type"),
        ({"param_scheduler.1.eta_min": 10**9}, "param_scheduler.1.eta_min=1000000000: give a number from 0 to 1,000,000"),
        ({"log_level": "abc"}, "log_level='abc': give a whole number, or one of"),
        ({"visualizer.vis_backends.0.type": "abc"}, "visualizer.vis_backends.0.type='abc' is no known vis backend"),
        ({"optim_wrapper.optimizer.type": "..x"}, "optim_wrapper.optimizer.type='..x' is no known"),
        ({"val_dataloader.num_workers": 10**9}, "val_dataloader.num_workers=1000000000: give a whole number from 0 to 1,024"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_of_another_kind(options, message):
    assert message in mistakes(**options)


def test_the_text_of_a_config_is_formatted_once(monkeypatch):
    calls = []
    formatted = _formatted_once(lambda text, **style: (calls.append(text), (text.upper(), style))[1])
    assert [formatted("a", wide=1), formatted("a", wide=1), formatted("a", wide=2), formatted("b", wide=1)] == [
        *[("A", {"wide": 1})] * 2,
        ("A", {"wide": 2}),
        ("B", {"wide": 1}),
    ]
    assert calls == ["a", "a", "b"]
    monkeypatch.setattr(yapf_api, "FormatCode", _formatted_once(lambda text, **style: (calls.append(text), (text, True))[1]))
    cfg = load_config(TINY)
    assert cfg.pretty_text == copy.deepcopy(cfg).pretty_text
    assert len(calls) == 4


def test_milestones_of_none_are_named():
    with pytest.raises(ValueError, match=r"^train_dataloader\.batch_sampler\.resolution\.milestones=\(\): give pairs"):
        load_config(TINY, {"train_dataloader.batch_sampler.resolution.milestones": ()})
