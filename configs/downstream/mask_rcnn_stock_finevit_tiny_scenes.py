"""mmdet's own Mask R-CNN on embedded scenes: nothing replaced but backbone and neck, so that strides are its 4, 8, 16, 32, 64.

From a checkpoint of any stage: --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/finevit_tiny_stage2/iter_400.pth
"""

_base_ = ["mmdet::_base_/models/mask-rcnn_r50_fpn.py", "_base_/tiny_detection.py", "_base_/vitdet.py"]

model = dict(
    backbone=dict(_base_._encoder, _delete_=True, **_base_._tiny, frozen=True),
    neck=dict(_delete_=True, type="finevit.SimpleFPN", in_channels=256, resample=(14, 16)),
)
optim_wrapper = _base_._tiny_optim_wrapper
train_cfg = dict(max_iters=150)
