"""What set each value of a config: files, options, rules and defaults, each told by name."""

from pathlib import Path

import pytest
from mmengine.config import Config

from finevit.config.bundled import FOLDER, bundled
from finevit.config.loading import load_config
from finevit.config.origins import Traced, leaves

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A config on a base beside it, on one of FineViT's."""
    base = ["_base_ = 'finevit::finevit_tiny_stage2.py'", "model = dict(", "    head=dict(embed_dim=64, weight=2.0),", ")"]
    (tmp_path / "base.py").write_text("\n".join(base))
    leaf = [
        "_base_ = ['base.py']",
        "_steps = 9",
        "train_cfg = dict(max_iters=_steps)",
        "model = dict(",
        "    head=dict(",
        "        weight=1.0,",
        "    ),",
        "    text_encoder=dict(_delete_=True, type='TextTransformer', tokenizer='scenes', depth=1, dim=64, heads=1),",
        ")",
        "custom_hooks = [dict(type='NonFiniteHook'),",
        "    dict(type='BadSamplesHook', show=3)]",
    ]
    (tmp_path / "own.py").write_text("\n".join(leaf))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own.py"


def told(traced: Traced) -> dict[str, tuple]:
    return {row.name: (row.value, *row.origin) for row in traced.rows()}


def test_files_are_told_with_the_line_and_what_they_override(own):
    rows = told(Traced(own, {}))
    assert rows["train_cfg.max_iters"] == (9, "own.py:3", "400 of finevit::finevit_tiny_stage2.py:26")
    assert rows["model.head.weight"] == (1.0, "own.py:6", "2.0 of base.py:3")
    assert rows["model.head.embed_dim"] == (64, "base.py:3", "256 of finevit::finevit_tiny_stage2.py:13")
    assert rows["model.type"][1:] == ("finevit::finevit_tiny_stage2.py:10", "")
    assert rows["randomness.seed"][:2] == (0, "finevit::_base_/runtime.py:11")
    assert rows["custom_hooks.1.show"] == (3, "own.py:11", "")  # a list takes the place of another whole
    assert rows["model.text_encoder.context"][1] == "default of TextTransformer"  # _delete_ took the base's away
    assert not [name for name in rows if name.startswith("_")]


def test_options_rules_and_defaults_are_told(own, tmp_path):
    options = {"train_dataloader.num_workers": 0, "model.head.weight": 1.0, "data_root": str(tmp_path)}
    traced = Traced(own, options)
    rows = told(traced)
    assert rows["train_dataloader.num_workers"][:2] == (0, "--cfg-options")
    assert rows["model.head.weight"] == (1.0, "--cfg-options", "")  # set, though to what it was
    assert rows["train_dataloader.dataset.source.type"][:2] == ("OpenData", "rule use_own_data")
    assert rows["train_dataloader.dataset.source.type"][2].startswith("'Scenes' of finevit::_base_/embedded_scenes.py:")
    assert rows["train_dataloader.dataset.transforms.4.tokenizer"][:2] == ("scenes", "rule inherit_tokenizer")
    assert rows["train_dataloader.batch_sampler.resolution.milestones"] == (
        [(0, 84), (5, 112)],
        "rule resolve_fractions",
        "[(0.0, 84), (0.6, 112)] of finevit::finevit_tiny_stage2.py:18",
    )
    assert rows["model.backbone.window"] == (0, "default of FineViT", "")
    assert rows["default_hooks.checkpoint.save_optimizer"] == (True, "default of StreamingCheckpointHook", "")  # by **kwargs
    assert rows["train_dataloader.drop_last"] == (False, "default of DataLoader", "")
    assert rows["auto_scale_lr"] == (None, "default of Runner", "")
    dropped = {row.name: (row.value, *row.origin) for row in traced.dropped}
    assert dropped["train_dataloader.persistent_workers"][::2] == (True, "finevit::_base_/embedded_scenes.py:6")
    assert dropped["train_dataloader.persistent_workers"][1] == "rule drop_worker_settings"
    assert [*traced.rules] == ["use_own_data", "drop_worker_settings", "inherit_tokenizer", "resolve_fractions"]
    assert traced.rules["use_own_data"].startswith("data_root leads the dataloaders away from the embedded scenes")


def test_another_type_and_what_it_drops_are_told():
    traced = Traced("finevit_tiny_stage3", {"model.llm.model": "smollm2-135m"})
    assert told(traced)["model.llm.model"][:2] == ("smollm2-135m", "--cfg-options")
    assert {row.origin.place for row in traced.dropped if row.name.startswith("model.llm.")} == {"rule drop_of_weights"}
    assert "model.llm.tokenizer" in [row.name for row in traced.dropped]


def test_a_renamed_setting_is_told_with_its_old_name(own):
    own.write_text(own.read_text() + "\ntrain_dataloader = dict(batch_sampler=dict(patch_drop=dict(type='Constant', value=0.5)))")
    traced = Traced(own, {})
    old = "train_dataloader.batch_sampler.patch_drop.value of own.py:12"
    value = told(traced)["train_dataloader.batch_sampler.schedules.DropPatches.ratio.value"]
    assert value == (0.5, "rule rename_settings", old)
    assert not [row for row in traced.dropped if "patch_drop" in row.name]


@pytest.mark.parametrize("name", [name for name, path in bundled().items() if path.parent == FOLDER])
def test_every_value_has_an_origin_and_none_is_changed(name):
    traced = Traced(name, {})
    merges = Config._merge_a_into_b
    assert traced.cfg.to_dict() == load_config(name).to_dict()
    assert Config._merge_a_into_b is merges
    assert merges.__module__ == "mmengine.config.config"
    given = {row.name: row.value for row in traced.rows() if not row.origin.place.startswith("default")}
    assert given == {".".join(name): value for name, value in leaves(load_config(name)._cfg_dict)}
    assert not [row for row in traced.rows() if row.origin.place == "MMEngine"]
