"""A connector and a small language model learn to read a frozen encoder; the tasks are scored once, at the end."""

_base_ = ["../../configs/finevit_tiny_stage3.py"]

model = {"backbone_frozen": True}
_hooks = [hook for hook in _base_.custom_hooks if hook["type"] not in ("ScheduleHook", "ReportHook")]
custom_hooks = [*_hooks, {"type": "ReportHook", "before": False}]
