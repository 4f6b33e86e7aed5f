"""A small language model learns to search, and what is asked, from painted regions: no encoder is needed, so none is favoured."""

_base_ = ["../../configs/finevit_tiny_stage3.py"]

train_dataloader = {
    "batch_sampler": {
        "painted": None,  # all are
        "mixture": None,  # as the transform has it, from the start
        "close_up": {"_delete_": True, "type": "Constant", "value": 0.0},
    }
}
_resize, _ask, *_rest = _base_.val_dataloader.dataset.transforms
val_dataloader = {"dataset": {"transforms": [_resize, _ask, {"type": "PaintRegions"}, *_rest]}}
model = {"backbone_frozen": True}
_hooks = [hook for hook in _base_.custom_hooks if hook["type"] not in ("ScheduleHook", "ResetHook", "ReportHook")]
custom_hooks = [*_hooks, {"type": "ReportHook", "before": False}]
