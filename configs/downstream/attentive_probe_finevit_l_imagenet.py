"""Attentive probe on ImageNet: a learned query reads the frozen encoder's tokens, then a linear classifier; 30 epochs."""

_base_ = "_base_/imagenet.py"

model = dict(backbone=dict(frozen=True), neck=dict(_delete_=True, type="finevit.AttentivePool", in_channels=1536))
optim_wrapper = dict(_delete_=True, optimizer=dict(type="AdamW", lr=1e-3, weight_decay=1e-4))
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=True, begin=0, end=30, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=30)
