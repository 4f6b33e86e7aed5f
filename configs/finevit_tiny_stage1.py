"""Stage I for minutes on two cores: the embedded scenes and the teacher that comes inside a package.

The plain recipe of the paper learns next to nothing in minutes. What makes it learn here, in the order of its worth: Muon
instead of AdamW, attention that starts local, targets standardised per channel, and a second copy of each image without a
mask, which shares the teacher's one forward pass (docs/performance.md has the measurements).
"""

_base_ = ["_base_/runtime.py", "_base_/embedded_scenes.py"]

model = dict(
    type="MaskedDistillation",
    backbone=dict(type="FineViT", arch="tiny"),
    teacher=dict(type="PackagedDinov2Small", layers=[-1], dtype="auto"),
    head=dict(type="DistillationHead", target_norm="channel", visible_weight=1.0),
    mask_ratio=[0.0, 0.75],
)
optim_wrapper = dict(
    type="BFloat16OptimWrapper",
    optimizer=dict(type="TimmMuon", lr=3e-3, betas=(0.9, 0.98), weight_decay=0.05),
    paramwise_cfg=dict(
        flat_decay_mult=0.0, custom_keys={"backbone.embed": dict(use_fallback=True), "head": dict(use_fallback=True)}
    ),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, by_epoch=False, begin=0, end=25),
    dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0),  # times the warmup; ends with the run
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=600)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="ExplainedVariance"), dict(type="PatchProbe")]
