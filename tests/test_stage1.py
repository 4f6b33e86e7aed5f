"""Stage I: the teacher stays outside, targets sit on the student's grid, the loss does not depend on the packing."""

import pytest
import torch
from mmengine.registry import MODELS as ROOT
from torch import Tensor

from finevit.contracts import Teacher
from finevit.ops.distillation import random_mask
from finevit.plugins import load_plugins
from finevit.registry import MODELS
from finevit.stages import MaskedDistillation
from finevit.testing import random_pack

ARCH = {"depth": 2, "dim": 32, "heads": 2, "mlp_dim": 48}


@MODELS.register_module()
class MeanColour(Teacher):
    """A teacher with patches of 16 whose feature is a patch's mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.dim = 16, 3
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen: list[tuple[int, ...]] = []

    def features(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        return torch.nn.functional.avg_pool2d(images, 16).flatten(2).transpose(1, 2) * self.weight

    def describe(self) -> str:
        return "mean colours"


def make_stage(teacher=None, **options) -> MaskedDistillation:
    load_plugins()
    torch.manual_seed(0)
    return ROOT.build(
        {
            "type": "finevit.MaskedDistillation",
            "backbone": {"type": "finevit.FineViT", "arch": ARCH},
            "teacher": teacher or {"type": "finevit.RandomFeatureTeacher", "dim": 8},
            "head": {"type": "finevit.DistillationHead"},
            "data_preprocessor": {"type": "finevit.PackedPreprocessor"},
            **options,
        }
    )


def make_images(grids=((2, 4), (6, 2), (2, 4))):
    return make_stage().data_preprocessor({"images": random_pack(grids)._replace(pixels=raw(grids)), "skipped": []})["images"]


def raw(grids) -> Tensor:
    count = sum(r * c for r, c in grids)
    return torch.randint(0, 256, (count, 588), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_the_teacher_is_frozen_and_stays_out_of_checkpoints():
    stage = make_stage(teacher={"type": "finevit.MeanColour"})
    assert not [name for name in stage.state_dict() if "teacher" in name]
    assert not [name for name, _ in stage.named_parameters() if "teacher" in name]
    loss = stage.loss(make_images())["loss_masked"]
    loss.backward()
    assert stage.teacher.weight.grad is None
    assert not stage.teacher.training
    assert stage.double().teacher.weight.dtype == torch.float64
    assert stage.train().teacher.training is False


def test_targets_sit_on_the_students_grid():
    stage, images = make_stage(teacher={"type": "finevit.MeanColour"}), make_images(((2, 4), (6, 2), (2, 4)))
    flat = images._replace(pixels=torch.zeros_like(images.pixels))
    parts = list(flat.pixels.split(list(flat.seqlens)))
    parts[1] = parts[1].clone()
    parts[1][5] = 2.0  # one bright patch: row 2, column 1
    targets = stage.targets(flat._replace(pixels=torch.cat(parts))).split(list(flat.seqlens))
    assert stage.teacher.seen == [(2, 3, 32, 64), (1, 3, 96, 32)]
    assert targets[1].sum(1).argmax() == 5
    assert targets[0].std(0).max() < 1e-6
    assert torch.allclose(targets[0], stage.targets(flat)[:8])


def test_no_resizing_where_patches_are_equal():
    stage, images = make_stage(), make_images()
    alone = stage.teacher.features(
        torch.stack([stage.data_preprocessor.unnormalise(images.pixels)[:8].unflatten(-1, (3, 14, 14))[i] for i in range(8)])
        .reshape(2, 4, 3, 14, 14).permute(2, 0, 3, 1, 4).reshape(1, 3, 28, 56)
    )[0]  # fmt: skip
    assert torch.allclose(stage.targets(images)[:8], alone, atol=1e-5)


def test_preprocessing():
    stage, pixels = make_stage(), raw(((2, 4), (6, 2), (2, 4)))
    images = make_images()
    value = (pixels[3, 200] / 255 - 0.456) / 0.224  # values 196 to 391 of a patch are green
    assert images.pixels[3, 200] == pytest.approx(value.item(), abs=1e-6)
    assert torch.allclose(stage.data_preprocessor.unnormalise(images.pixels) * 255, pixels.float(), atol=1e-3)


def test_the_share_of_masked_patches_and_its_copies(monkeypatch):
    stage, images = make_stage(mask_ratio=[0.0, 0.75]), make_images()
    seen = {}
    monkeypatch.setattr(stage.head, "loss", lambda tokens, target, mask: seen.update(tokens=tokens, target=target, mask=mask) or {})
    stage.loss(images)
    assert len(seen["tokens"]) == len(seen["target"]) == 2 * len(images.pixels)
    assert not seen["mask"][:28].any()
    assert [int(part.sum()) for part in seen["mask"][28:].split([8, 12, 8])] == [6, 9, 6]
    assert torch.equal(seen["target"][:28], seen["target"][28:])


def test_the_loss_is_the_mean_over_masked_patches_by_hand():
    stage, images = make_stage(), make_images()
    torch.manual_seed(7)
    loss = stage.loss(images)["loss_masked"]
    torch.manual_seed(7)
    mask = random_mask(images.seqlens, 0.75)
    tokens = stage.backbone(images, replace=(mask, stage.mask_token)).tokens
    prediction = stage.head.predict(tokens)
    expected = sum(((prediction[i] - stage.targets(images)[i]) ** 2).sum() for i in range(28) if mask[i]) / mask.sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_masked_patches_can_be_left_out():
    """By hand: the encoder sees a quarter of each image at its places, and learns the teacher's features of the whole one there."""
    options = {"mask_ratio": [0.0, 0.75], "drop_masked": True}
    stage, images = make_stage(head={"type": "finevit.DistillationHead", "visible_weight": 0.5}, **options), make_images()
    torch.manual_seed(7)
    losses = stage.loss(images)
    torch.manual_seed(7)
    torch.randperm(8), torch.randperm(12), torch.randperm(8)  # the copy that shows all
    kept = ~random_mask(images.seqlens, 0.75)
    seen = images._replace(
        pixels=images.pixels[kept], positions=images.positions[kept], cu_seqlens=torch.tensor([0, 2, 5, 7]).int(), seqlens=(2, 3, 2)
    )
    prediction = stage.head.predict(torch.cat((stage.backbone(images).tokens, stage.backbone(seen).tokens)))
    target = torch.cat((stage.targets(images), stage.targets(images)[kept]))
    distance = (prediction - target).square().sum(1).mean()
    spread = (target - target.mean(0)).square().sum(1).mean()
    assert set(losses) == {"loss_visible", "r2"}
    assert losses["loss_visible"].item() == pytest.approx(0.5 * distance.item(), rel=1e-5)
    assert losses["r2"].item() == pytest.approx(1 - (distance / spread).item(), abs=1e-5)


def test_what_is_left_out_cannot_be_all_that_is_learned():
    with pytest.raises(ValueError, match=r"model\.drop_masked=True .*set model\.head\.visible_weight=1"):
        make_stage(drop_masked=True)


def test_predictions_are_split_by_image():
    stage, images = make_stage(mask_ratio=[0.0, 0.75]).eval(), make_images()
    labels = torch.arange(28)
    predictions = stage(images, mode="predict", labels=labels, id=["a", "b", "c"])
    assert [p["id"] for p in predictions] == ["a", "b", "c"]
    assert [p["prediction"].shape for p in predictions] == [(8, 8), (12, 8), (8, 8)]
    assert predictions[1]["labels"].tolist() == list(range(8, 20))
    assert predictions[1]["mask"].sum() == 9
    assert predictions[1]["shape"] == (6, 2)
    assert torch.allclose(predictions[2]["tokens"], stage.backbone(images).tokens[20:], atol=1e-6)


def test_layer_wise_decay_knows_every_parameter():
    stage = make_stage()
    depths = {name: stage.get_layer_depth(name)[0] for name, _ in stage.named_parameters()}
    assert depths["backbone.embed.weight"] == 0
    assert depths["backbone.blocks.0.norm1.weight"] == 1
    assert depths["backbone.blocks.1.feed_forward.down.weight"] == 2
    assert depths["backbone.norm.weight"] == depths["head.predict.weight"] == depths["mask_token"] == 3


def test_bfloat16_only_where_the_hardware_has_it(monkeypatch):
    from finevit import precision

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for capabilities, expected in (({"avx512_bf16": True}, True), ({"avx2": True, "avx512_bf16": False}, False), ({}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert precision.bfloat16_helps.__wrapped__() is expected


@pytest.mark.parametrize("ratio", [1.5, -0.1, [0.5, 75]])
def test_mask_ratios_are_shares(ratio):
    with pytest.raises(ValueError, match=r"MaskedDistillation\.mask_ratio.*=.*from 0 to 1"):
        make_stage(mask_ratio=ratio)
