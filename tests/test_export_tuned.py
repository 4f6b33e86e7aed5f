"""Exports of encoders within OpenMMLab's models: a true card, the classifier's head, adapters, what is refused."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sample_exports import ARCH, ROOT

from finevit.config.loading import load_config
from finevit.engine.test_run import protocol_of
from finevit.export import tuned
from finevit.export.run import export
from finevit.export.source import classifier_of, read_source
from finevit.export.templates.encoder_finevit import Encoder
from finevit.export.templates.modeling_finevit import AttentivePool
from finevit.plugins import load_plugins
from finevit.registry import MODELS
from finevit.scenes import Scenes
from finevit.scenes.layouts import write_layouts
from finevit.testing import fill

pytestmark = pytest.mark.filterwarnings("ignore")  # those of mmdet, mmpretrain and what they import


def make(folder: Path, name: str, edit=lambda cfg: None) -> tuple[Path, torch.nn.Module]:
    """A checkpoint as tools/train.py leaves it, of a small encoder with random weights, and the model that is in it."""
    load_plugins()
    cfg = load_config(ROOT / f"configs/downstream/{name}_finevit_tiny_scenes.py")
    cfg.model.backbone.arch = ARCH
    necks = cfg.model.neck if isinstance(cfg.model.neck, list) else [cfg.model.neck]
    for part in (*necks, cfg.model.get("head") or {}):
        part.update({key: ARCH["dim"] for key in ("in_channels", "input_features") if key in part})
    edit(cfg)
    model = MODELS.build({**cfg.model, "_scope_": cfg.default_scope})
    fill(model, scale=0.1)
    meta = {"cfg": cfg.pretty_text, "iter": 2, "seed": 0, "dataset_meta": {"classes": [f"kind {i}" for i in range(16)]}}
    torch.save({"meta": meta, "state_dict": model.state_dict()}, folder / "iter_2.pth")
    return folder / "iter_2.pth", model.eval()


@pytest.mark.parametrize("name", ["finetune", "linear_probe", "attentive_probe"])
@torch.no_grad()
def test_a_classifier_is_exported_with_its_head(name: str, tmp_path: Path) -> None:
    path, model = make(tmp_path, name)
    if name == "linear_probe":
        model.neck[1].bn.running_mean.uniform_(-1, 1)
        model.neck[1].bn.running_var.uniform_(0.5, 2)
        torch.save({**torch.load(path, weights_only=False), "state_dict": model.state_dict()}, path)
    source = read_source(path)
    config, weights = classifier_of(source)
    encoder = Encoder(**source.encoder)
    encoder.load_state_dict(source.part("backbone"))
    images = torch.randn(3, 3, 56, 84)
    tokens = encoder.encode(images)[0]
    if name == "attentive_probe":
        pool = AttentivePool(ARCH["dim"], config["classifier_heads"])
        pool.load_state_dict({key.removeprefix("attentive."): weights[key] for key in weights if key.startswith("attentive.")})
    pooled = pool(tokens) if name == "attentive_probe" else tokens.mean(1)
    wanted = model.head.fc(model.neck(model.backbone(images))[-1])
    assert (pooled @ weights["classifier.weight"].T + weights["classifier.bias"] - wanted).abs().max() < 1e-4
    assert wanted.std() > 1e-3
    assert config["id2label"][3] == "kind 3"
    assert source.image["size"] == {"height": 224, "width": 224}


def test_a_detectors_card_tells_of_the_detector(tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    path, _ = make(tmp_path, "mask_rcnn")
    export(path, "safetensors", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    for said in (
        "as a model for object detection and instance segmentation has it (`MaskRCNN`)",
        "`CocoDataset` (data_root='scenes', ann_file='instances_training.json')",
        "The encoder was frozen: it has random weights: nothing has taught it anything.",
        "neck and heads, is not in this export",
        "mean [0.485, 0.456, 0.406]",
    ):
        assert said in card, said
    assert "Stage" not in card
    assert "teacher" not in card
    with pytest.raises(
        ValueError, match=r"is a model for object detection and instance segmentation; give a checkpoint of Stage II"
    ):
        export(path, "open_clip", tmp_path / "other")
    with pytest.raises(ValueError, match=r"--config: model\.type='MaskedDistillation', but iter_2\.pth was trained as 'MaskRCNN'"):
        export(path, "hf", tmp_path / "other", ROOT / "configs/finevit_tiny_stage1.py")


@torch.no_grad()
def test_adapters_are_added_to_the_weights_or_refused(tmp_path: Path) -> None:
    encoder = {"type": "finevit.FineViT", "arch": ARCH}
    base = MODELS.build(encoder)
    torch.save({"state_dict": {f"backbone.{key}": value for key, value in base.state_dict().items()}}, tmp_path / "base.pth")
    encoder["init_cfg"] = {"type": "Pretrained", "checkpoint": str(tmp_path / "base.pth"), "prefix": "backbone."}

    def adapt(cfg) -> None:
        lora = {"type": "mmpretrain.LoRAModel", "module": encoder, "rank": 4, "alpha": 8, "targets": [{"type": "qkv"}]}
        cfg.model.backbone = lora

    path, model = make(tmp_path, "finetune", adapt)
    model.backbone.module.load_state_dict(base.state_dict(), strict=False)  # fill has drawn them anew
    for name, layer in model.backbone.module.named_modules():
        if hasattr(layer, "original_layer"):
            layer.original_layer.load_state_dict(base.get_submodule(name).state_dict())
    source = read_source(path)
    export_of = Encoder(**source.encoder)
    export_of.load_state_dict(source.part("backbone"))
    images = torch.randn(1, 3, 28, 42)
    maps = model.backbone(images)[0].flatten(2).mT
    assert (export_of.encode(images)[0] - maps).abs().max() < 1e-5
    assert (base(images)[0].flatten(2).mT - maps).abs().max() > 1e-3, "the adapters change something"
    (tmp_path / "base.pth").unlink()
    with pytest.raises(ValueError, match="holds adapters alone"):
        read_source(path)


def test_where_the_encoder_began_is_told(tmp_path: Path) -> None:
    cfg = load_config(ROOT / "configs/downstream/finetune_finevit_tiny_scenes.py")
    cfg.model.backbone.init_cfg.checkpoint = "elsewhere/iter_9.pth"
    said = tuned.start_of(cfg)
    assert said.startswith("The encoder began from the checkpoint `iter_9.pth`, of whose own training nothing is known here")
    meta = {"cfg": 'model = dict(type="ContrastiveLearning")', "iter": 7}
    torch.save({"meta": meta, "state_dict": {}}, tmp_path / "iter_7.pth")
    cfg.model.backbone.init_cfg.checkpoint = str(tmp_path / "iter_7.pth")
    assert "`iter_7.pth` (of `ContrastiveLearning`, 7 steps) and was tuned whole" in tuned.start_of(cfg)


@pytest.mark.slow
def test_the_test_tool_takes_a_classifier(tmp_path: Path) -> None:
    path, _ = make(tmp_path, "finetune")
    source = Scenes(level="easy", split="val", length=4)
    write_layouts((source[index] for index in range(4)), tmp_path / "scenes", split="val", classes=source.classes)
    options = [f"test_dataloader.dataset.data_root={tmp_path}/scenes/", "test_dataloader.num_workers=0"]
    options += [f"model.backbone.arch.{key}={value}" for key, value in ARCH.items()]
    config = tmp_path / "config.py"
    config.write_text(torch.load(path, weights_only=False)["meta"]["cfg"])
    arguments = [str(config), str(path), "--work-dir", str(tmp_path / "out"), "--cfg-options", *options]
    subprocess.run([sys.executable, str(ROOT / "tools/test.py"), *arguments], check=True, capture_output=True)
    entry = json.loads((tmp_path / "out/results.json").read_text())["benchmarks"]["test"]
    assert entry["data"] == {"description": "CustomDataset of mmpretrain (scenes, labels_validation.txt)", "images": 4}
    assert entry["metrics"].keys() == {"accuracy/top1"}
    assert entry["metrics"]["accuracy/top1"] in (0, 25, 50, 75, 100)
    assert entry["protocols"]["Accuracy"].endswith("Accuracy(topk=(1,))")
    assert entry["protocols"]["Accuracy"].startswith("mmpretrain 1.")


def test_metrics_of_other_packages_have_a_protocol_too() -> None:
    class Metric:
        """One of torch's, say."""

    Metric.__module__ = "torch.metrics"
    configs = [{"type": "Other"}, {"type": "torch.Metric", "ann_file": "/home/me/val.json", "metric": ["bbox"]}]
    assert protocol_of(Metric(), configs) == f"torch {torch.__version__} Metric(metric=['bbox'])"
    assert protocol_of(SimpleNamespace(protocol="patch-probe-v1"), configs) == "patch-probe-v1"
