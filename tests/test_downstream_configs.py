"""The downstream configs: each builds; each twin takes a training step and predicts on embedded scenes."""

import gc
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, DefaultScope

from finevit.commands.train import apply_flags
from finevit.config.loading import load_config
from finevit.config.validation import check_config
from finevit.scenes import Scenes
from finevit.scenes.layouts import write_layouts

ROOT = Path(__file__).parents[1] / "configs/downstream"
CONFIGS = sorted(file.name for file in ROOT.glob("*.py"))
QUICK = ("mask_rcnn_finevit_tiny_scenes.py", "upernet_finevit_tiny_scenes.py", "linear_probe_finevit_tiny_scenes.py")
"""What the default tests try; the others are slow ones."""
TWINS = [name for name in CONFIGS if name.endswith("_scenes.py")]
pytestmark = pytest.mark.filterwarnings("ignore")  # those of mmdet, mmseg and what they import


def slow_but_for(names):
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    for split in ("train", "val"):
        source = Scenes(level="easy", split=split, length=3)
        write_layouts((source[index] for index in range(3)), folder, split=split, classes=source.classes)
    return folder


@pytest.fixture
def config(name):
    config = load_config(ROOT / name)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        yield config
    gc.collect()  # what other packages leave behind warns here, where their warnings are ignored


@pytest.mark.parametrize("name", slow_but_for(CONFIGS))
def test_the_config_passes_the_check_and_builds(name, config, scenes):
    if name in TWINS:
        config.train_dataloader.dataset.data_root = config.val_dataloader.dataset.data_root = str(scenes)
        config.test_dataloader = config.val_dataloader
        check_config(config)
    with torch.device("meta"):
        model = MODELS.build(config.model)
    count = sum(parameter.numel() for parameter in model.backbone.parameters())
    assert count == pytest.approx(5.3e6 if name in TWINS else 0.86e9, rel=0.02)
    assert config.model.backbone.type == "finevit.FineViT"


def merge(config):
    """How MMEngine's dataloaders make a batch for a package's models."""
    return default_collate if config.default_scope == "mmpretrain" else pseudo_collate


@pytest.mark.parametrize("name", slow_but_for(TWINS))
def test_a_twin_learns_from_scenes_and_predicts(name, config, scenes):
    torch.manual_seed(0)
    loaders = config.train_dataloader, config.val_dataloader
    data = [DATASETS.build({**loader.dataset, "data_root": str(scenes)}) for loader in loaders]
    model = MODELS.build(config.model)
    model.init_weights()  # as the runner does: mmdet makes DINO's level_embed of memory that nobody wrote
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-3)
    batch = merge(config)([data[0][index] for index in range(2)])
    losses = []
    for _ in range(4):
        loss, _ = model.parse_losses(model(**model.data_preprocessor(batch, training=True), mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    tuned = name.startswith(("dino", "finetune"))
    assert (model.backbone.embed.weight.grad is not None) == tuned
    model.eval()
    (sample,) = model.test_step(merge(config)([data[1][0]]))
    if config.default_scope == "mmpretrain":
        assert sample.pred_score.sum().item() == pytest.approx(1, abs=1e-5)
        assert sample.pred_score.shape == (16,)
    elif config.default_scope == "mmseg":
        assert sample.pred_sem_seg.data.shape[1:] == sample.ori_shape
    else:
        assert sample.pred_instances.bboxes.shape[1] == 4


@pytest.mark.parametrize("name", slow_but_for(TWINS))
def test_amp_is_bfloat16_in_every_scope(name, config, scenes, monkeypatch):
    """``--amp`` is accepted, also where a package's own wrapper had settings that ours does not take, and steps are taken."""
    config.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic", dtype="float16")
    arguments = {"launcher": "none", "work_dir": None, "config": name, "amp": True, "resume": None, "plan": False}
    apply_flags(config, SimpleNamespace(**arguments))
    config.train_dataloader.dataset.data_root = config.val_dataloader.dataset.data_root = str(scenes)
    config.test_dataloader = config.val_dataloader
    check_config(config)
    monkeypatch.setattr("finevit.engine.optimizers.bfloat16_helps", lambda: True)
    torch.manual_seed(0)
    data, model = DATASETS.build({**config.train_dataloader.dataset}), MODELS.build(config.model)
    model.init_weights()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    seen = set()
    model.backbone.register_forward_hook(lambda module, args, maps: seen.add(torch.is_autocast_enabled("cpu")))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for _ in range(2):
        log = model.train_step(merge(config)([data[index] for index in range(2)]), wrapper)
        assert log["loss"].isfinite()
        assert not wrapper.skipped
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert seen == {True}


def test_adapters_come_from_mmpretrain():
    """docs/downstream.md says so."""
    encoder = {"type": "finevit.FineViT", "arch": "tiny"}
    lora = {"type": "mmpretrain.LoRAModel", "module": encoder, "rank": 4, "alpha": 4, "targets": [{"type": "qkv"}]}
    model = MODELS.build(lora)
    assert model(torch.zeros(1, 3, 28, 42))[0].shape == (1, 256, 2, 3)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trained) == 12
    assert all("attention.qkv.lora_" in name for name in trained)
