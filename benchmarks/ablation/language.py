"""A connector and a small language model learn to read a frozen encoder; the tasks are scored once, at the end."""

_base_ = ["../../configs/finevit_tiny_stage3.py"]

model = {"backbone_frozen": True}
custom_hooks = [*_base_.custom_hooks[:-1], {"type": "ReportHook", "before": False}]
