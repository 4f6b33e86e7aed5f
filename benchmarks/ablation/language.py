"""A connector and a small language model learn to read a frozen encoder; the tasks are scored once, at the end.

As in Stage III they look closely first, here for longer: how to search, the language model has learned before (``llm.py``).
"""

_base_ = ["../../configs/finevit_tiny_stage3.py"]

_batches = _base_.train_dataloader.batch_sampler
_reading = 0.4


def _until(schedule):
    (_, before), (_, after) = schedule.milestones
    return {"milestones": [(0.0, before), (_reading, after)]}


train_dataloader = {
    "batch_sampler": {
        "close_up": _until(_batches.close_up),
        "mixture": {task: _until(schedule) for task, schedule in _batches.mixture.items()},
    }
}
model = {"backbone_frozen": True}
_hooks = [hook for hook in _base_.custom_hooks if hook["type"] not in ("ScheduleHook", "ReportHook")]
custom_hooks = [*_hooks, {"type": "ReportHook", "before": False}]
