"""A connector and a small language model learn to read a frozen encoder; the tasks are scored once, at the end.

As in Stage III they look closely first, here for longer: how to search, the language model has learned before (``llm.py``).
"""

_base_ = ["../../configs/finevit_tiny_stage3.py"]

_batches = _base_.train_dataloader.batch_sampler
_reading = 0.4


def _seen(phases):
    _, (_, reading), (_, searching) = phases.milestones
    return {"milestones": [(0.0, reading), (_reading, searching)]}


train_dataloader = {
    "batch_sampler": {
        "painted": {"_delete_": True, "type": "Constant", "value": 0.0},
        "close_up": _seen(_batches.close_up),
        "mixture": {task: _seen(phases) for task, phases in _batches.mixture.items()},
    }
}
model = {"backbone_frozen": True}
_hooks = [hook for hook in _base_.custom_hooks if hook["type"] not in ("ScheduleHook", "ReportHook")]
custom_hooks = [*_hooks, {"type": "ReportHook", "before": False}]
