"""A connector and a small language model learn to read a frozen encoder; the tasks are scored once, at the end.

As in Stage III they look closely first, here for longer: how to search, the language model has learned before (``llm.py``).
"""

_base_ = ["../../configs/finevit_tiny_stage3.py"]

_reading = 0.4
_, (_, _first), (_, _then) = _base_.train_dataloader.batch_sampler.close_up.milestones
train_dataloader = {
    "batch_sampler": {
        "painted": {"_delete_": True, "type": "Constant", "value": 0.0},
        "close_up": {"milestones": [(0.0, _first), (_reading, _then)]},
    }
}
model = {"backbone_frozen": True}
_hooks = [hook for hook in _base_.custom_hooks if hook["type"] not in ("ScheduleHook", "ReportHook")]
custom_hooks = [*_hooks, {"type": "ReportHook", "before": False}]
