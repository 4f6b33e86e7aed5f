"""A small language model learns what is asked, and to search, from painted regions: no encoder is needed, so none is favoured."""

_base_ = ["../../configs/finevit_tiny_stage3.py"]

_paint = {"type": "PaintRegions"}
_crop, *_asked = _base_.train_dataloader.dataset.transforms
_batches = _base_.train_dataloader.batch_sampler
train_dataloader = {
    "dataset": {"transforms": [_asked[0], _asked[1], _paint, *_asked[2:]]},
    "batch_sampler": {
        "close_up": None,
        "mixture": {
            task: {"_delete_": True, "type": "Constant", "value": later.milestones[1][1]}
            for task, later in _batches.mixture.items()
        },
    },
}
_resize, _ask, *_rest = _base_.val_dataloader.dataset.transforms
val_dataloader = {"dataset": {"transforms": [_resize, _ask, _paint, *_rest]}}
model = {"backbone_skipped": True, "backbone_frozen": True}
_hooks = [hook for hook in _base_.custom_hooks if hook["type"] not in ("ScheduleHook", "ReportHook")]
custom_hooks = [*_hooks, {"type": "ReportHook", "before": False}]
