"""Cascade Mask R-CNN on COCO: as mask_rcnn_finevit_l_coco.py, with three box heads of rising IoU thresholds (ViTDet, table 7)."""

_base_ = ["mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py", "mmdet::common/lsj-100e_coco-instance.py", "_base_/vitdet.py"]

model = _base_._two_stage
optim_wrapper = dict(_base_._optim_wrapper, _delete_=True)
