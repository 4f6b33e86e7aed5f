"""DINO, a detector of the DETR family, on COCO: FineViT-L, large-scale jitter at 1,024 pixels, 100 epochs."""

_base_ = ["_base_/dino.py", "mmdet::common/lsj-100e_coco-detection.py", "_base_/vitdet.py"]

model = dict(
    backbone=_base_._encoder,
    neck=dict(type="finevit.SimpleFPN", in_channels=1536, scales=[2, 1, 0.5], num_outs=4),
)
optim_wrapper = dict(_base_._optim_wrapper, _delete_=True, clip_grad=dict(max_norm=0.1))
