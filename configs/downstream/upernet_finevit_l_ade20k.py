"""UPerNet on ADE20K: FineViT-L, four of its blocks as a pyramid, crops of 640 pixels (46 whole patches), 160,000 steps.

Your checkpoint, of any stage: --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/finevit_l_stage3/iter_N.pth
"""

_base_ = [
    "mmseg::_base_/models/upernet_mae.py", "mmseg::_base_/datasets/ade20k_640x640.py", "mmseg::_base_/default_runtime.py",
    "mmseg::_base_/schedules/schedule_160k.py", "_base_/vitdet.py",
]  # fmt: skip

_pad = dict(size=(644, 644), test_cfg=dict(size_divisor=28))
model = dict(
    data_preprocessor=_pad,
    backbone=dict(_base_._encoder, _delete_=True, window=0, global_blocks=[], drop_path=0.2, out_layers=[6, 13, 20, 27]),
    neck=dict(embed_dim=1536),
    decode_head=dict(in_channels=[1536] * 4, num_classes=150),
    auxiliary_head=dict(in_channels=1536, num_classes=150),
)
optim_wrapper = dict(_base_._optim_wrapper, _delete_=True)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=160000),
]
