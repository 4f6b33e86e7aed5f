"""Mask R-CNN on embedded scenes: the twin of mask_rcnn_finevit_l_coco.py for minutes on two cores.

From a checkpoint of any stage: --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/finevit_tiny_stage2/iter_400.pth
"""

_base_ = ["mmdet::_base_/models/mask-rcnn_r50_fpn.py", "_base_/tiny_detection.py", "_base_/vitdet.py"]

_strides = [7, 14, 28]
model = dict(
    data_preprocessor=dict(pad_size_divisor=28),
    backbone=dict(_base_._encoder, _delete_=True, **_base_._tiny),
    neck=dict(_delete_=True, type="finevit.SimpleFPN", in_channels=256, out_channels=96, scales=[2, 1, 0.5], num_outs=3),
    rpn_head=dict(in_channels=96, feat_channels=96, anchor_generator=dict(scales=[6], strides=_strides)),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=96, featmap_strides=_strides),
        mask_roi_extractor=dict(out_channels=96, featmap_strides=_strides),
        bbox_head=dict(in_channels=96, fc_out_channels=256, num_classes=16),
        mask_head=dict(in_channels=96, conv_out_channels=96, num_convs=2, num_classes=16),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=400, max_per_img=200), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=400, max_per_img=200), rcnn=dict(max_per_img=20)),
)
optim_wrapper = dict(_base_._optim_wrapper, optimizer=_base_._tiny_optimizer, clip_grad=dict(max_norm=1.0))
