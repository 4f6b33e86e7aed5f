"""Embedded scenes in COCO's layout (``make downstream`` writes them: finevit write-scenes), for minutes on two cores."""

_base_ = "mmdet::_base_/default_runtime.py"

_classes = (
    "circle", "square", "triangle", "star", "dog face", "butterfly", "tropical fish", "sunflower", "automobile", "house",
    "umbrella", "rocket", "evergreen tree", "soccer ball", "turtle", "penguin",
)  # fmt: skip
_resize = dict(type="Resize", scale=(224, 224), keep_ratio=True)
_scenes = dict(type="CocoDataset", data_root="work_dirs/scenes/", metainfo=dict(classes=_classes))
_meta = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        **_scenes,
        ann_file="annotations/instances_training.json",
        data_prefix=dict(img="images/training/"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            _resize,
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **_scenes,
        ann_file="annotations/instances_validation.json",
        data_prefix=dict(img="images/validation/"),
        test_mode=True,
        pipeline=[
            dict(type="LoadImageFromFile"),
            _resize,
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="PackDetInputs", meta_keys=_meta),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", ann_file="work_dirs/scenes/annotations/instances_validation.json", metric=["bbox", "segm"])
test_evaluator = val_evaluator
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
train_cfg = dict(type="IterBasedTrainLoop", max_iters=600, val_interval=10_000)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0),
]
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=200, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=False, window_size=20)
randomness = dict(seed=0)
