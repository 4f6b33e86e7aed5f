"""Embedded scenes in ADE20K's layout (``make downstream`` writes them: finevit write-scenes), for minutes on two cores."""

_base_ = "mmseg::_base_/default_runtime.py"

_classes = (
    "background", "circle", "square", "triangle", "star", "dog face", "butterfly", "tropical fish", "sunflower", "automobile",
    "house", "umbrella", "rocket", "evergreen tree", "soccer ball", "turtle", "penguin",
)  # fmt: skip
_scenes = dict(type="BaseSegDataset", img_suffix=".png", data_root="work_dirs/scenes/", metainfo=dict(classes=_classes))
_resize = dict(type="Resize", scale=(252, 252), keep_ratio=True)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        **_scenes,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations"),
            _resize,
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackSegInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **_scenes,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=[dict(type="LoadImageFromFile"), _resize, dict(type="LoadAnnotations"), dict(type="PackSegInputs")],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
train_cfg = dict(type="IterBasedTrainLoop", max_iters=600, val_interval=10_000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0),
]
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=20, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=200, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
randomness = dict(seed=0)
