"""Patches of another size by one setting, ``model.backbone.patch``: loaders that cut alike, and embeddings that are resampled."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, interpolate

from finevit.backbones import FineViT
from finevit.config.loading import ConfigError, load_config
from finevit.contracts import ImageBudget
from finevit.datasets.transforms.dialogue_transforms import visual_tokens
from finevit.engine.checkpoints import StreamingCheckpointHook
from finevit.hub.weights import resample_patches
from finevit.registry import DATASETS, FUNCTIONS, MODELS
from finevit.scenes import Scenes
from finevit.testing import fill, random_pack

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = {"depth": 3, "dim": 48, "heads": 4, "mlp_dim": 80}


@pytest.mark.parametrize(("patch", "error"), [(16, 1e-5), (28, 1e-5), (8, 0.3)])
def test_an_embedding_for_patches_of_another_size_gives_the_same_of_resized_ones(patch, error):
    """Larger patches lose nothing; of smaller ones the finest detail is gone."""
    generator = torch.Generator().manual_seed(0)
    weights = {"embed.weight": torch.randn(48, 3 * 14 * 14, generator=generator)}
    patches = interpolate(torch.rand(100, 3, 4, 4, generator=generator), (14, 14), mode="bicubic", antialias=True)
    before = patches.flatten(1) @ weights["embed.weight"].T
    assert resample_patches(weights, "embed.weight", patch) == (
        f"patch embedding resampled from 14 x 14 to {patch} x {patch} pixels"
    )
    after = interpolate(patches, (patch, patch), mode="bicubic", antialias=True).flatten(1) @ weights["embed.weight"].T
    assert ((after - before).square().mean() / before.var()).item() < error


def test_what_is_no_embedding_of_square_patches_stays_as_it_is():
    for weight in (torch.ones(4, 3 * 16 * 16), torch.ones(4, 700), torch.ones(4)):
        weights = {"embed.weight": weight}
        assert resample_patches(weights, "embed.weight", 16) == ""
        assert weights["embed.weight"] is weight
    assert resample_patches({}, "embed.weight", 16) == ""


@pytest.fixture
def trained(tmp_path) -> tuple[str, FineViT]:
    """A checkpoint of an encoder for patches of 14 pixels, and that encoder."""
    encoder = FineViT(arch=SMALL).eval()
    fill(encoder)
    torch.save({"state_dict": {f"backbone.{name}": value for name, value in encoder.state_dict().items()}}, tmp_path / "c.pth")
    return str(tmp_path / "c.pth"), encoder


def pretrained(file: str, **options) -> FineViT:
    encoder = MODELS.build(
        {"type": "FineViT", "arch": SMALL, "init_cfg": {"type": "Pretrained", "checkpoint": file, "prefix": "backbone."}, **options}
    )
    encoder.init_weights()
    return encoder.eval()


def test_an_encoder_of_larger_patches_sees_in_enlarged_images_what_it_saw(trained):
    file, before = trained
    after = pretrained(file, patch=16)
    records = [Scenes(level="easy", split="val", length=2)[i].image for i in range(2)]
    small = [cv2.resize(image, (140, 112), interpolation=cv2.INTER_AREA) for image in records]
    large = [cv2.resize(image, (160, 128), interpolation=cv2.INTER_CUBIC) for image in small]
    batches = [torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255 - 0.5 for images in (small, large)]
    (seen,), (again,) = before(batches[0]), after(batches[1])
    assert seen.shape == again.shape == (2, 48, 8, 10)
    assert cosine_similarity(seen, again).min() > 0.99


def test_init_cfg_resamples_where_the_patch_is_set_and_says_so(trained, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("finevit.backbones.finevit.say", lambda line, *level: said.append(line))
    file, before = trained
    assert pretrained(file, patch=16).embed.weight.shape == (48, 768)
    told = f"init_cfg.checkpoint={file!r}, prefix='backbone.': patch embedding resampled from 14 x 14 to 16 x 16 pixels"
    assert said.count(told) == 1
    said.clear()
    assert torch.equal(pretrained(file, patch=14).embed.weight, before.embed.weight)
    assert not any("resampled" in line for line in said)


def test_a_patch_that_nobody_set_is_no_reason_to_resample(tmp_path):
    encoder = FineViT(arch=SMALL, patch=16)
    torch.save({f"backbone.{name}": value for name, value in encoder.state_dict().items()}, tmp_path / "c.pth")
    with pytest.raises(
        ValueError, match=r"1 keys do not fit:\n  backbone.embed.weight: is \[48, 768\], wanted \[48, 588\]\nset arch"
    ):
        pretrained(str(tmp_path / "c.pth"))
    assert pretrained(str(tmp_path / "c.pth"), patch=14).embed.weight.shape == (48, 588)


@pytest.mark.parametrize("wrapped", ["", "module."])
def test_load_from_resamples_too_and_resume_never(trained, wrapped, monkeypatch):
    weights = {f"{wrapped}{name}": value for name, value in torch.load(trained[0])["state_dict"].items()}
    model, said = nn.Module(), []
    model.backbone = FineViT(arch=SMALL, patch=16)
    monkeypatch.setattr("finevit.engine.checkpoints.say", lambda line, logger: said.append(line))
    runner = SimpleNamespace(model=model, _resume=False, _load_from="c.pth", logger=None)
    checkpoint = {"meta": {}, "state_dict": dict(weights)}
    StreamingCheckpointHook().after_load_checkpoint(runner, checkpoint)
    assert len(said) == 1
    assert said[0].startswith("load_from: patch embedding resampled from 14 x 14 to 16 x 16 pixels; taken over: backbone; ")
    model.load_state_dict(checkpoint["state_dict"])
    runner._resume = True
    with pytest.raises(ValueError, match=r"resume: .*\n  backbone.embed.weight: is \[48, 588\], wanted \[48, 768\]"):
        StreamingCheckpointHook().after_load_checkpoint(runner, {"state_dict": dict(weights)})


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_one_setting_is_for_the_loaders_too(stage):
    file = CONFIGS / f"finevit_tiny_stage{stage}.py"
    config, plain = load_config(file, {"model.backbone.patch": 16}), load_config(file)
    for loader in ("train_dataloader", "val_dataloader"):
        steps = {step["type"]: step for step in config[loader].dataset.transforms}
        assert (steps["ResizeToBudget"]["snap"], steps["Patchify"]["patch"]) == (32, 16)
        before = {step["type"]: step for step in plain[loader].dataset.transforms}
        assert "snap" not in before["ResizeToBudget"]
        assert "patch" not in before["Patchify"]


def test_images_go_from_the_loader_into_the_encoder_in_its_patches():
    config = load_config(CONFIGS / "finevit_tiny_stage1.py", {"model.backbone.patch": 16})
    config.val_dataloader.dataset.source.length = 2
    dataset = DATASETS.build({**config.val_dataloader.dataset, "_scope_": "finevit"})
    batch = FUNCTIONS.get("pack_samples")([dataset[0], dataset[1]])
    assert batch["images"].pixels.shape[1] == 3 * 16 * 16
    assert all(rows % 2 == cols % 2 == 0 and rows * cols <= (224 // 16) ** 2 for rows, cols in batch["images"].shapes)
    assert dataset.patches(0, ImageBudget(224 * 224)) in (None, batch["images"].seqlens[0])
    encoder = FineViT(arch=SMALL, patch=16)
    assert encoder(batch["images"]._replace(pixels=batch["images"].pixels / 255)).tokens.shape == (sum(batch["images"].seqlens), 48)


def test_patches_told_without_pixels_are_those_of_the_transform():
    class Sizes(Scenes):
        def size(self, index):
            return 320, 480

    source = Sizes(level="easy", split="val", length=1)
    transforms = [{"type": "finevit.ResizeToBudget", "snap": 32}, {"type": "finevit.Patchify", "patch": 16}]
    dataset = DATASETS.build({"type": "NativeImages", "source": source, "transforms": transforms})
    assert dataset.patches(0, ImageBudget(10**6)) == 20 * 30


@pytest.mark.parametrize(
    ("step", "name", "value", "remedy"),
    [(0, "snap", 28, "a multiple"), (1, "patch", 14, "the same"), (1, "patch", 32, "the same")],
)
def test_loaders_that_cut_otherwise_are_refused(step, name, value, remedy):
    options = {"model.backbone.patch": 16, f"val_dataloader.dataset.transforms.{step}.{name}": value}
    with pytest.raises(
        ConfigError, match=rf"\.{name}={value} does not go with model.backbone.patch=16: leave it out, or give {remedy}"
    ):
        load_config(CONFIGS / "finevit_tiny_stage1.py", options)


def test_patches_of_another_size_are_named():
    with pytest.raises(ValueError, match=r"cut into patches of 14 pixels, the encoder has 16: set Patchify.patch as its patch"):
        FineViT(arch=SMALL, patch=16)(random_pack([(2, 2)]))
    for patch in (0, 14.0):
        with pytest.raises(ValueError, match=f"patch={patch}: give the side of a patch in pixels"):
            FineViT(arch=SMALL, patch=patch)


def test_an_odd_grid_is_told_in_the_patches_that_were_cut():
    for patch in (14, 16):
        with pytest.raises(ValueError, match=f"sides must be multiples of {2 * patch} pixels"):
            visual_tokens((3, 4), patch=patch)
