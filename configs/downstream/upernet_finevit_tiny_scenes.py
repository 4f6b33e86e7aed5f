"""UPerNet on embedded scenes: the twin of upernet_finevit_l_ade20k.py for minutes on two cores.

From a checkpoint of any stage: --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/finevit_tiny_stage2/iter_400.pth
"""

_base_ = ["mmseg::_base_/models/upernet_mae.py", "_base_/tiny_segmentation.py", "_base_/vitdet.py"]

_norm = dict(type="BN", requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(252, 252), test_cfg=dict(size_divisor=28)),
    backbone=dict(_base_._encoder, _delete_=True, **_base_._tiny, frozen=True, out_layers=[2, 3, 4, 5]),
    neck=dict(embed_dim=256, rescales=[2, 1, 0.5, 0.25], norm_cfg=_norm),
    decode_head=dict(in_channels=[256] * 4, channels=96, num_classes=17, norm_cfg=_norm),
    auxiliary_head=dict(in_channels=256, in_index=1, channels=96, num_classes=17, norm_cfg=_norm),
)
optim_wrapper = dict(_base_._tiny_optim_wrapper, optimizer=dict(_base_._tiny_optim_wrapper.optimizer, lr=3e-3))
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=420)
