"""Mask R-CNN on COCO in ViTDet's manner: FineViT-L, large-scale jitter at 1,024 pixels, 100 epochs.

Your checkpoint, of any stage: --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/finevit_l_stage3/iter_N.pth
"""

_base_ = ["mmdet::_base_/models/mask-rcnn_r50_fpn.py", "mmdet::common/lsj-100e_coco-instance.py", "_base_/vitdet.py"]

model = _base_._two_stage
optim_wrapper = dict(_base_._optim_wrapper, _delete_=True)
