"""UPerNet on Cityscapes: as on ADE20K, with crops of 512 x 1,024 pixels and windows."""

_base_ = [
    "mmseg::_base_/models/upernet_mae.py", "mmseg::_base_/datasets/cityscapes.py", "mmseg::_base_/default_runtime.py",
    "mmseg::_base_/schedules/schedule_160k.py", "_base_/vitdet.py",
]  # fmt: skip

model = dict(
    data_preprocessor=dict(size=(532, 1036), test_cfg=dict(size_divisor=28)),
    backbone=dict(_base_._encoder, _delete_=True, drop_path=0.2, out_layers=[6, 13, 20, 27]),
    neck=dict(embed_dim=1536),
    decode_head=dict(in_channels=[1536] * 4),
    auxiliary_head=dict(in_channels=1536),
)
optim_wrapper = dict(_base_._optim_wrapper, _delete_=True)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=160000),
]
