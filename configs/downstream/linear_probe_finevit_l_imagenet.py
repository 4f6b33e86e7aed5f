"""Linear probe on ImageNet: a linear classifier on the mean of the frozen encoder's tokens, 30 epochs (k-NN: finevit probe)."""

_base_ = "_base_/imagenet.py"

model = dict(
    backbone=dict(frozen=True), neck=[dict(type="finevit.AveragePool"), dict(type="ClsBatchNormNeck", input_features=1536)]
)
optim_wrapper = dict(_delete_=True, optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=0.0))
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=True, begin=0, end=30, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=30)
