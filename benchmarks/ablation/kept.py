"""What both parts of the ablation's language model have in common: Stage III with the encoder kept, and without its phases."""

_base_ = ["../../configs/finevit_tiny_stage3.py"]

model = {"backbone_frozen": True}
train_dataloader = {"batch_sampler": {"mixture": None}}  # all tasks as the transform weighs them, from the start
_phases = ("ScheduleHook", "ResetHook", "ReportHook")
custom_hooks = [*(hook for hook in _base_.custom_hooks if hook["type"] not in _phases), {"type": "ReportHook", "before": False}]
param_scheduler = [_base_.param_scheduler[0], _base_.param_scheduler[-1]]  # warmup and decay
