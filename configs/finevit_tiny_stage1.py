"""Stage I for minutes on two cores: the embedded scenes and the teacher that comes inside a package."""

_base_ = ["_base_/runtime.py", "_base_/embedded_scenes.py"]

model = dict(
    type="MaskedDistillation",
    backbone=dict(type="FineViT", arch="tiny"),
    teacher=dict(type="PackagedDinov2Small", layers=[11]),
    head=dict(type="DistillationHead", target_norm="channel", visible_weight=1.0),
    mask_ratio=[0.0, 0.75, 0.75],
)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.98), weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=50, eta_min_ratio=0.01),  # ends with the run
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=600)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="ExplainedVariance"), dict(type="PatchProbe")]
