"""Cascade Mask R-CNN on embedded scenes: the twin of cascade_mask_rcnn_finevit_l_coco.py for minutes on two cores."""

_base_ = ["mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py", "_base_/tiny_detection.py", "_base_/vitdet.py"]

_cascade = _base_.model.roi_head.bbox_head
model = dict(
    **_base_._tiny_two_stage,
    roi_head=dict(
        **_base_._tiny_roi_head,
        bbox_head=[dict(head, in_channels=96, fc_out_channels=256, num_classes=16) for head in _cascade],
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=400, max_per_img=200),
        rcnn=[dict(stage, sampler=dict(stage.sampler, num=64)) for stage in _base_.model.train_cfg.rcnn],
    ),
)
optim_wrapper = _base_._tiny_optim_wrapper
