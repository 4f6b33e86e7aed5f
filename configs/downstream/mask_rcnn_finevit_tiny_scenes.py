"""Mask R-CNN on embedded scenes: the twin of mask_rcnn_finevit_l_coco.py for minutes on two cores.

From a checkpoint of any stage: --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/finevit_tiny_stage2/iter_400.pth
"""

_base_ = ["mmdet::_base_/models/mask-rcnn_r50_fpn.py", "_base_/tiny_detection.py", "_base_/vitdet.py"]

model = dict(
    **_base_._tiny_two_stage,
    roi_head=dict(
        **_base_._tiny_roi_head,
        bbox_head=dict(in_channels=96, fc_out_channels=256, num_classes=16),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=400, max_per_img=200), rcnn=dict(sampler=dict(num=64))),
)
optim_wrapper = _base_._tiny_optim_wrapper
train_cfg = dict(max_iters=150)
