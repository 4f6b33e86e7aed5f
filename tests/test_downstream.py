"""FineViT within OpenMMLab's libraries: pyramid, layer-wise decay, checkpoints, and scenes in their data's layouts."""

import json
import logging
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from torch import nn

from finevit.backbones import FineViT
from finevit.downstream.necks import SimpleFPN
from finevit.packing.dense import resample_maps
from finevit.registry import MODELS
from finevit.scenes import Scenes
from finevit.scenes.layouts import run_lengths, write_layouts
from finevit.testing import fill

SMALL = {"depth": 3, "dim": 48, "heads": 4, "mlp_dim": 80}


def test_the_pyramid_has_vitdets_resolutions():
    neck = SimpleFPN(in_channels=48, out_channels=16)
    outputs = neck([torch.zeros(2, 48, 9, 9), torch.randn(2, 48, 6, 10)])
    assert [tuple(output.shape) for output in outputs] == [
        (2, 16, 24, 40), (2, 16, 12, 20), (2, 16, 6, 10), (2, 16, 3, 5), (2, 16, 2, 3),
    ]  # fmt: skip
    torch.testing.assert_close(outputs[4], outputs[3][:, :, ::2, ::2])
    means = outputs[2].mean(1)  # the last layer of every level normalises over channels
    torch.testing.assert_close(means, torch.zeros_like(means), rtol=0, atol=1e-5)


def test_the_pyramid_depends_on_the_last_map_alone():
    neck, last = SimpleFPN(in_channels=48, out_channels=16), torch.randn(1, 48, 4, 4)
    first, second = neck([torch.randn(1, 48, 4, 4), last]), neck([last])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_pyramid_of_unknown_scales_is_refused():
    with pytest.raises(ValueError, match=r"SimpleFPN.scales=\(3,\): give some of"):
        SimpleFPN(in_channels=8, scales=[3])
    with pytest.raises(ValueError, match="num_outs=2: give at least the number of scales, 4"):
        SimpleFPN(in_channels=8, num_outs=2)


@pytest.mark.parametrize(("patch", "cell"), [(14, 16), (16, 14), (14, 7), (14, 28), (14, 5)])
def test_resampled_maps_lie_where_their_pixels_do(patch, cell):
    """Features that are the pixel coordinates of cells become those of the new cells, edges but for the outermost half cells."""
    x = (torch.arange(19).double() + 0.5) * patch
    size = [-(-side * patch // cell) for side in (7, 19)]
    maps = resample_maps(torch.stack([x[:7, None].expand(7, 19), x.expand(7, 19)])[None], size, step=cell / patch)
    rows, cols = (((torch.arange(count) + 0.5) * cell).double() for count in size)
    torch.testing.assert_close(maps[0, 0], rows.clamp(x[0], x[6])[:, None].expand(size), rtol=0, atol=1e-4)
    torch.testing.assert_close(maps[0, 1], cols.clamp(x[0], x[18]).expand(size), rtol=0, atol=1e-4)


def test_a_pyramid_of_standard_strides_has_their_sizes_and_the_same_weights():
    neck, plain = (SimpleFPN(in_channels=48, out_channels=16, resample=each) for each in ((14, 16), None))
    assert neck.state_dict().keys() == plain.state_dict().keys()
    for side in (224, 448, 672):
        outputs = neck([torch.randn(1, 48, side // 14, 16)])
        assert [tuple(output.shape[2:]) for output in outputs] == [(-(-side // s), -(-224 // s)) for s in (4, 8, 16, 32, 64)]
    neck.load_state_dict(plain.state_dict())
    maps = [torch.randn(1, 48, 8, 8)]
    same = SimpleFPN(in_channels=48, out_channels=16, resample=(14, 14))
    same.load_state_dict(plain.state_dict())
    for one, other in zip(same(maps), plain(maps), strict=True):
        torch.testing.assert_close(one, other)


def test_impossible_resampling_is_refused():
    for resample in ((14,), (0, 16), (14, 29)):
        with pytest.raises(ValueError, match=r"SimpleFPN.resample=.*: give the side of a patch and of a cell, at most two patches"):
            SimpleFPN(in_channels=8, resample=resample)


class Detector(nn.Module):
    """What layer-wise decay needs of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = FineViT(arch=SMALL), nn.Linear(48, 2)


def rates(model: nn.Module, **paramwise) -> dict[str, float]:
    settings = {"constructor": "finevit.LayerDecay", "optimizer": {"type": "AdamW", "lr": 1.0}, "paramwise_cfg": paramwise}
    groups = build_optim_wrapper(model, settings).optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(group["params"][0])]: group["lr"] for group in groups}


def test_rates_fall_from_block_to_block():
    found = rates(Detector(), layer_decay_rate=0.5, custom_keys={"head": {"lr_mult": 3.0}})
    assert found["head.weight"] == 3.0
    assert found["backbone.norm.weight"] == 1.0
    assert [found[f"backbone.blocks.{n}.attention.qkv.weight"] for n in (2, 1, 0)] == [0.5, 0.25, 0.125]
    assert found["backbone.embed.weight"] == 0.0625
    assert set(found) == {name for name, _ in Detector().named_parameters()}


@pytest.mark.filterwarnings("ignore")  # those of mmpretrain
def test_adapters_have_the_rates_of_their_blocks():
    """mmpretrain's LoRAModel calls the encoder ``module``; at its constructor too, which asks the classifier."""
    model = Detector()
    lora = {"type": "mmpretrain.LoRAModel", "module": {"type": "finevit.FineViT", "arch": SMALL}, "rank": 2, "alpha": 2}
    model.backbone = MODELS.build({**lora, "targets": [{"type": "qkv"}]})
    found = rates(model, layer_decay_rate=0.5)
    for side in ("down", "up"):
        name = f"attention.qkv.lora_{side}.weight"
        assert [found[f"backbone.module.blocks.{n}.{name}"] for n in (2, 1, 0)] == [0.5, 0.25, 0.125]
    assert (found["head.weight"], len(found)) == (1.0, 8)  # what is frozen has no rate
    assert model.backbone.get_layer_depth("backbone.module.blocks.1.attention.qkv.lora_up.weight", "backbone.") == (2, 5)


def test_layer_decay_that_would_do_nothing_is_refused():
    model = Detector()
    model.backbone.get_layer_depth = lambda name: (4, 5)
    with pytest.raises(ValueError, match=r"layer_decay_rate=0.5 would lower no rate: .* such as 'embed.weight', in a block"):
        rates(model, layer_decay_rate=0.5)


def test_layer_decay_names_what_is_wrong():
    with pytest.raises(ValueError, match="layer_decay_rate=2: give a factor above 0"):
        rates(Detector(), layer_decay_rate=2)
    with pytest.raises(ValueError, match="no backbone that knows its layers"):
        rates(nn.Linear(2, 2), layer_decay_rate=0.5)


def saved(path, names=lambda name: True) -> str:
    encoder = FineViT(arch=SMALL)
    fill(encoder)
    state = {f"backbone.{name}": value for name, value in encoder.state_dict().items() if names(name)}
    torch.save({"meta": {}, "state_dict": {**state, "head.weight": torch.zeros(1)}}, path)
    return str(path)


def pretrained(checkpoint, **options) -> FineViT:
    init_cfg = {"type": "Pretrained", "checkpoint": checkpoint, "prefix": "backbone."}
    return MODELS.build({"type": "FineViT", "arch": SMALL, "init_cfg": init_cfg, **options})


def test_the_encoder_of_any_stage_is_loaded_by_init_cfg(tmp_path):
    encoder, wanted = pretrained(saved(tmp_path / "all.pth"), window=2), FineViT(arch=SMALL)
    encoder.init_weights()
    fill(wanted)
    for name, value in wanted.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], value)


def test_what_does_not_fit_whole_is_refused_with_its_keys(tmp_path):
    partial = saved(tmp_path / "part.pth", lambda name: name not in ("norm.weight", "blocks.1.norm1.bias"))
    told = r"\n  backbone.blocks.1.norm1.bias: missing\n  backbone.norm.weight: missing\nset arch"
    with pytest.raises(ValueError, match=f"part.pth.* 2 keys do not fit:{told}"):
        pretrained(partial).init_weights()
    with pytest.raises(ValueError, match=r"backbone.embed.weight: is \[48, 588\], wanted .*\n  \S+.blocks.2.\S+: unexpected\n"):
        pretrained(saved(tmp_path / "all.pth"), arch={**SMALL, "depth": 2}, patch=16).init_weights()


def test_no_checkpoint_means_random_weights():
    encoder = pretrained(None)
    before = encoder.norm.weight.clone()
    encoder.init_weights()
    assert torch.equal(encoder.norm.weight, before)
    assert encoder.is_init


def padded_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """An image, and the same beside a larger neighbour."""
    image, batch = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0)) + 0.1, torch.zeros(2, 3, 98, 70)
    batch[0, :, :40, :56], batch[1] = image[0], 0.5
    return image, batch


@pytest.mark.parametrize("patch", [14, 16])
@pytest.mark.parametrize("kind", ["AveragePool", "AttentivePool"])
def test_what_is_pooled_of_an_image_does_not_depend_on_its_neighbours(kind, patch):
    encoder = FineViT(arch=SMALL, out_layers=[0, -1], patch=patch)
    neck = MODELS.build({"type": kind} if kind == "AveragePool" else {"type": kind, "in_channels": 48, "heads": 4})
    image, batch = padded_batch()
    alone, beside = neck(encoder(image)), neck(encoder(batch))
    assert len(alone) == len(beside) == (2 if kind == "AveragePool" else 1)
    for one, other in zip(alone, beside, strict=True):
        torch.testing.assert_close(other[:1], one, rtol=1e-5, atol=1e-5)
    if kind == "AveragePool":
        torch.testing.assert_close(alone[1], encoder(image)[1].mean((2, 3)))


def test_pools_give_what_an_image_of_padding_alone_has():
    maps = [torch.zeros(1, 48, 2, 3)]
    assert torch.equal(MODELS.build({"type": "AveragePool"})(maps)[0], torch.zeros(1, 48))
    assert MODELS.build({"type": "AttentivePool", "in_channels": 48, "heads": 4})(maps)[0].isfinite().all()


@pytest.mark.filterwarnings("ignore")  # those of mmpretrain
@pytest.mark.parametrize("kind", ["GlobalAveragePooling", "GeneralizedMeanPooling"])
def test_a_neck_that_pools_padding_is_told_once(kind):
    image, batch = padded_batch()
    encoder, pool = FineViT(arch=SMALL), MODELS.build({"type": f"mmpretrain.{kind}"})
    with told() as lines:
        pool(encoder(image))
        assert lines == []
        for _ in range(2):
            pool(encoder(batch))
    (line,) = lines
    assert "their features depend on their neighbours. Give neck=dict(type='finevit.AveragePool')" in line


@pytest.mark.parametrize("neck", [SimpleFPN(in_channels=48, out_channels=8), MODELS.build({"type": "AveragePool"})])
def test_what_makes_maps_or_knows_padding_is_not_told_of(neck):
    _, batch = padded_batch()
    encoder = FineViT(arch=SMALL)
    with told() as lines:
        for _ in range(2):
            neck(encoder(batch))
    assert lines == []


@contextmanager
def told():
    """The lines of MMEngine's logger, which does not hand them on."""
    lines, handler = [], logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def test_run_lengths_count_down_the_columns():
    mask = np.array([[0, 1], [1, 1], [0, 0]], bool)
    assert run_lengths(mask) == {"size": [3, 2], "counts": [1, 1, 1, 2, 1]}
    assert run_lengths(~mask)["counts"] == [0, 1, 1, 1, 2, 1]
    assert run_lengths(np.ones((2, 2), bool))["counts"] == [0, 4]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp("scenes"), Scenes(level="easy", split="val", length=6)
    assert write_layouts((source[i] for i in range(6)), folder, split="val", classes=source.classes) == 6
    return folder, source


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools under numpy 2
def test_scenes_are_written_in_cocos_layout(scenes):
    coco_mask = pytest.importorskip("pycocotools.mask")
    folder, source = scenes
    coco = json.loads((folder / "annotations/instances_validation.json").read_text())
    assert [category["name"] for category in coco["categories"]] == source.classes
    assert len({annotation["id"] for annotation in coco["annotations"]}) == len(coco["annotations"])
    for image in coco["images"]:
        record = source[image["id"]]
        pixels = cv2.imread(str(folder / "images/validation" / image["file_name"]))[..., ::-1]
        assert np.array_equal(pixels, record.image)
        objects = [region for region in record.regions if region.kind == "object"]
        annotations = [annotation for annotation in coco["annotations"] if annotation["image_id"] == image["id"]]
        assert len(annotations) == len(objects)
        for index, (annotation, region) in enumerate(zip(annotations, objects, strict=True)):
            x, y, w, h = annotation["bbox"]
            sides = np.array([image["width"], image["height"]] * 2)
            assert np.allclose([x, y, x + w, y + h], np.array(region.box) * sides)
            packed = coco_mask.frPyObjects(annotation["segmentation"], image["height"], image["width"])
            assert np.array_equal(coco_mask.decode(packed).astype(bool), record.instance_map == index)
            assert annotation["category_id"] == region.class_id + 1
            assert annotation["area"] == coco_mask.area(packed)


def test_scenes_are_written_in_ade20ks_layout_and_as_labels(scenes):
    folder, source = scenes
    lines = (folder / "annotations/labels_validation.txt").read_text().split("\n")
    for index in range(6):
        mask = cv2.imread(str(folder / f"annotations/validation/{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask.astype(int) - 1, source[index].label_map)
        assert lines[index] == f"{index:06d}.png {source[index].facts['label']}"
