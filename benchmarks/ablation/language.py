"""A connector and a small language model learn to read a frozen encoder; the tasks are scored once, at the end.

All are asked from the start, and for a while most images are close-ups: how to search, the language model has learned before
(``llm.py``).
"""

_base_ = ["../../configs/finevit_tiny_stage3.py"]

train_dataloader = {
    "batch_sampler": {
        "painted": {"_delete_": True, "type": "Constant", "value": 0.0},
        "close_up": {"milestones": [(0.0, 0.6), (0.4, 0.1)]},
        "mixture": None,  # as the transform has it, from the start
    }
}
model = {"backbone_frozen": True}
_hooks = [hook for hook in _base_.custom_hooks if hook["type"] not in ("ScheduleHook", "ResetHook", "ReportHook")]
custom_hooks = [*_hooks, {"type": "ReportHook", "before": False}]
