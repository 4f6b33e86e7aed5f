"""Stage II on a fixed set of images with captions of several origins; scored once, at the end, on 512 unseen scenes."""

_base_ = ["../../configs/finevit_tiny_stage2.py"]

train_dataloader = {"dataset": {"source": {"_delete_": True, "type": "ShardRecords", "data_root": None, "holdout": 0}}}
val_dataloader = {
    "dataset": {
        "source": {"length": 512},
        "transforms": [*_base_.val_dataloader.dataset.transforms, {"type": "Label"}],
    },
    "collate_fn": {"keys": ["captions_list", "truncated", "label"]},
}
val_evaluator = [{"type": "Retrieval"}, {"type": "ZeroShot", "protocols": ["scenes"]}]
_others = [hook for hook in _base_.custom_hooks if hook["type"] != "ReportHook"]
custom_hooks = [*_others, {"type": "ZeroShotHook"}, {"type": "ReportHook", "before": False}]
