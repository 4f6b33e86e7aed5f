"""A text tower learns to meet a frozen encoder (locked-image tuning); retrieval and zero-shot are scored once, at the end."""

_base_ = ["../../configs/finevit_tiny_stage2.py"]

model = {"backbone_frozen": True}
val_dataloader = {
    "dataset": {"transforms": [*_base_.val_dataloader.dataset.transforms, {"type": "Label"}]},
    "collate_fn": {"keys": ["captions_list", "truncated", "label"]},
}
val_evaluator = [{"type": "Retrieval"}, {"type": "ZeroShot", "protocols": ["scenes"]}]
_others = [hook for hook in _base_.custom_hooks if hook["type"] != "ReportHook"]
custom_hooks = [*_others, {"type": "ZeroShotHook"}, {"type": "ReportHook", "before": False}]
