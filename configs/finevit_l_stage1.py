"""Stage I of the paper: FineViT-L, 75 % of patches masked, 256 x 256 input, 1.8 B images, batch 4096, lr 1e-3.

Without further settings it runs on the embedded scenes with the teacher that comes inside a package. For the real thing:
    --launcher pytorch --amp --cfg-options data_root=PATH model.teacher.type=HuggingFaceTeacher
    model.teacher.model=facebook/dinov3-vitl16-pretrain-lvd1689m   (a hub name or a folder)
"""

_base_ = ["_base_/runtime.py", "_base_/embedded_scenes.py"]

model = dict(
    type="MaskedDistillation",
    backbone=dict(type="FineViT", arch="large", activation_checkpointing=True),
    teacher=dict(type="PackagedDinov2Small", layers=[-1]),
    head=dict(type="DistillationHead"),  # the paper's plain squared distance on masked patches
    mask_ratio=0.75,
)
train_dataloader = dict(
    batch_size=64,  # on 64 ranks, the paper's batch of 4096
    num_workers=8,
    dataset=dict(
        source=dict(level="medium"),
        transforms=[dict(type="ResizeToBudget"), dict(type="RandomFlip"), dict(type="Patchify")],
    ),
    batch_sampler=dict(resolution=dict(side=256, square=True)),
)
val_dataloader = dict(batch_size=4, dataset=dict(source=dict(level="medium", length=16), pixels=256 * 256, square=True))
optim_wrapper = dict(
    type="GuardedOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(flat_decay_mult=0.0),
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=2000),
    dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0),  # times the warmup; ends with the run
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=439_453, val_interval=10_000)  # 1.8 B / 4096
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="ExplainedVariance"), dict(type="PatchProbe")]
