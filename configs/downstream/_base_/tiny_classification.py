"""Embedded scenes with the class of what covers most (finevit write-scenes), a classifier for them, minutes on two cores."""

_base_ = "mmpretrain::_base_/default_runtime.py"

_scenes = dict(type="CustomDataset", data_root="work_dirs/scenes/", with_label=True)
_load = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=(224, 224))]
data_preprocessor = dict(num_classes=16, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
custom_hooks = [dict(type="finevit.OriginsHook")]
model = dict(
    type="ImageClassifier",
    backbone=dict(type="finevit.FineViT", arch="tiny", init_cfg=dict(type="Pretrained", checkpoint=None, prefix="backbone.")),
    neck=dict(type="finevit.AveragePool"),
    head=dict(type="LinearClsHead", num_classes=16, in_channels=256, topk=(1,), loss=dict(type="CrossEntropyLoss")),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        **_scenes,
        ann_file="annotations/labels_training.txt",
        data_prefix="images/training",
        pipeline=[*_load, dict(type="RandomFlip", prob=0.5), dict(type="PackInputs")],
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **_scenes,
        ann_file="annotations/labels_validation.txt",
        data_prefix="images/validation",
        test_mode=True,
        pipeline=[*_load, dict(type="PackInputs")],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator
train_cfg = dict(type="IterBasedTrainLoop", max_iters=600, val_interval=10_000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=1e-4))
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0)]
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=200, max_keep_ckpts=2)
)
log_processor = dict(type="LogProcessor", by_epoch=False, window_size=20)
randomness = dict(seed=0)
