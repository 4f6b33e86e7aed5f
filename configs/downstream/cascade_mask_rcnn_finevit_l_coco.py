"""Cascade Mask R-CNN on COCO: as mask_rcnn_finevit_l_coco.py, with three box heads of rising IoU thresholds (ViTDet, table 7)."""

_base_ = ["mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py", "mmdet::common/lsj-100e_coco-instance.py", "_base_/vitdet.py"]

_strides = [3.5, 7, 14, 28]
model = dict(
    data_preprocessor=dict(pad_size_divisor=28, batch_augments=[dict(type="BatchFixedSizePad", size=(1036, 1036), pad_mask=True)]),
    backbone=dict(_base_._encoder, _delete_=True),
    neck=dict(_delete_=True, type="finevit.SimpleFPN", in_channels=1536),
    rpn_head=dict(anchor_generator=dict(strides=[*_strides, 56])),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=_strides), mask_roi_extractor=dict(featmap_strides=_strides)),
)
optim_wrapper = dict(_base_._optim_wrapper, _delete_=True)
