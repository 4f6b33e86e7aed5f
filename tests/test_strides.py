"""The strides of heads against those that backbone and neck have, in mmdet's own models."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from finevit.engine.hooks.strides_hook import StrideHook, check_strides

pytestmark = pytest.mark.filterwarnings("ignore")  # those of mmdet and what it imports
SMALL = {"depth": 2, "dim": 48, "heads": 4, "mlp_dim": 80}
MASK_RCNN = "_base_/models/mask-rcnn_r50_fpn.py"


def detector(name: str, *, backbone: dict | None = None, neck: dict | None = None, **parts) -> nn.Module:
    """A stock model of mmdet with nothing replaced but backbone and neck, and then the settings in ``parts``."""
    config = Config({"model": get_config(f"mmdet::{name}").model})
    config.model.backbone = {"type": "finevit.FineViT", "arch": SMALL, **(backbone or {})}
    config.model.neck = {"type": "finevit.SimpleFPN", "in_channels": 48, **(neck or {})}
    config.merge_from_dict({f"model.{key.replace('__', '.')}": value for key, value in parts.items()})
    with DefaultScope.overwrite_default_scope("mmdet"), torch.device("meta"):
        return MODELS.build(config.model)


@pytest.mark.parametrize("name", [MASK_RCNN, "htc/htc_r50_fpn_1x_coco.py", "solo/solo_r50_fpn_1x_coco.py"])
@pytest.mark.parametrize(("patch", "resample"), [(14, (14, 16)), (16, None), (8, (8, 16))])
def test_a_standard_pyramid_is_what_stock_heads_are_set_for(name, patch, resample):
    check_strides(detector(name, backbone={"patch": patch}, neck={"resample": resample}))


@pytest.mark.parametrize(
    ("name", "neck"),
    [
        ("_base_/models/retinanet_r50_fpn.py", {"scales": [2, 1, 0.5]}),
        ("condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py", {"scales": [2, 1, 0.5]}),
        ("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", {"scales": [2, 1, 0.5]}),
        ("reppoints/reppoints-moment_r50_fpn_1x_coco.py", {"scales": [2, 1, 0.5]}),
        ("yolof/yolof_r50-c5_8xb8-1x_coco.py", {"scales": [0.5], "num_outs": 1}),
        ("solov2/solov2_r50_fpn_1x_coco.py", {}),
        ("cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py", {}),
        ("guided_anchoring/ga-rpn_r50-caffe_fpn_1x_coco.py", {}),
    ],
)
def test_heads_of_other_kinds_are_read_too(name, neck):
    check_strides(detector(name, neck={**neck, "resample": (14, 16)}))
    with pytest.raises(ValueError, match=r"(?s)strides=\[(4|8|32).*set model.neck.resample=\(14, 16\)"):
        check_strides(detector(name, neck=neck))


def test_heads_left_as_they_are_over_patches_of_14_are_refused():
    told = r"backbone and neck give maps of strides \[3.5, 7, 14, 28, 56\] pixels, for which heads are not set:"
    rpn = r"model.rpn_head.anchor_generator.strides=\[4, 8, 16, 32, 64\], where its maps have \[3.5, 7, 14, 28, 56\]"
    box, mask = (rf"model.roi_head.{part}_roi_extractor.featmap_strides=\[4, 8, 16, 32\], where .*" for part in ("bbox", "mask"))
    remedy = r"set model.neck.resample=\(14, 16\), or set these to the strides of their maps"
    with pytest.raises(ValueError, match=rf"^{told}\n  {rpn}\n  {box}\n  {mask}\n{remedy}$"):
        check_strides(detector(MASK_RCNN))
    true = [3.5, 7, 14, 28]
    check_strides(
        detector(
            MASK_RCNN,
            rpn_head__anchor_generator__strides=[*true, 56],
            roi_head__bbox_roi_extractor__featmap_strides=true,
            roi_head__mask_roi_extractor__featmap_strides=true,
        )
    )


def test_one_wrong_setting_among_right_ones_is_the_one_named():
    with pytest.raises(
        ValueError, match=r"not set:\n  model.roi_head.mask_\S+=\[4, 8, 16, 64\], .*\nchange the neck, or set these"
    ) as caught:
        check_strides(detector(MASK_RCNN, backbone={"patch": 16}, roi_head__mask_roi_extractor__featmap_strides=[4, 8, 16, 64]))
    assert "bbox" not in str(caught.value)
    for outs, maps in ((4, "4, 8, 16, 32"), (6, "4, 8, 16, 32, 64, 128")):
        with pytest.raises(
            ValueError, match=rf"rpn_head.anchor_generator.strides=\[4, 8, 16, 32, 64\], where .* \[{maps}\]\nchange th"
        ):
            check_strides(detector(MASK_RCNN, backbone={"patch": 16}, neck={"num_outs": outs}))


def test_resampling_of_other_patches_than_the_encoders_is_seen():
    with pytest.raises(ValueError, match=r"strides \[4.57143, .*\n(?s:.*)\nleave model.neck.resample out, or set these"):
        check_strides(detector(MASK_RCNN, backbone={"patch": 16}, neck={"resample": (14, 16)}))


def test_necks_of_others_are_measured():
    fpn = {"type": "FPN", "in_channels": [48] * 4, "out_channels": 256, "num_outs": 5, "_scope_": "mmdet"}
    with pytest.raises(ValueError, match=r"maps of strides \[14, 14, 14, 14, 28\] pixels.*\n  model.rpn_head"):
        check_strides(detector(MASK_RCNN, backbone={"out_layers": [0, 0, 1, 1]}, neck=fpn))


def test_adapters_hide_no_encoder():
    encoder = {"type": "finevit.FineViT", "arch": SMALL}
    adapted = {"type": "mmpretrain.LoRAModel", "module": encoder, "rank": 2, "alpha": 2, "targets": [{"type": "qkv"}]}
    model = detector(MASK_RCNN, backbone={"patch": 16})
    with DefaultScope.overwrite_default_scope("mmdet"):
        model.backbone = MODELS.build(adapted)
    with pytest.raises(ValueError, match=r"set model.neck.resample=\(14, 16\)"):
        StrideHook().before_run(SimpleNamespace(model=model))


def test_what_has_no_strides_passes():
    model = nn.Module()
    model.backbone, model.decode_head = MODELS.build({"type": "finevit.FineViT", "arch": SMALL}), nn.Linear(1, 1)
    check_strides(model)
    check_strides(nn.Linear(1, 1))
