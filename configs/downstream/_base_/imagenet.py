"""ImageNet through mmpretrain: the classifier on FineViT-L that probes and fine-tuning share.

Your checkpoint, of any stage: --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/finevit_l_stage3/iter_N.pth
"""

_base_ = [
    "mmpretrain::_base_/datasets/imagenet_bs32_pil_resize.py",
    "mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py",
    "mmpretrain::_base_/default_runtime.py",
]

custom_hooks = [dict(type="finevit.OriginsHook")]
model = dict(
    type="ImageClassifier",
    backbone=dict(type="finevit.FineViT", arch="large", init_cfg=dict(type="Pretrained", checkpoint=None, prefix="backbone.")),
    neck=dict(type="finevit.AveragePool"),
    head=dict(type="LinearClsHead", num_classes=1000, in_channels=1536, loss=dict(type="CrossEntropyLoss")),
)
train_dataloader = dict(batch_size=128)
