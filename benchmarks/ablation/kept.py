"""What both parts of the ablation's language model have in common: Stage III with the encoder kept, and without its phases."""

_base_ = ["../../configs/finevit_tiny_stage3.py"]

custom_imports = {"imports": ["ablation.painted"]}
model = {"backbone_frozen": True, "connector": {"frequencies": 6}}
optim_wrapper = {"paramwise_cfg": {"custom_keys": {"connector.place": {"use_fallback": True}}}}
_style = {"style": "letters25"}
_weights = {"global_caption": 0.02, "box2text": 0.5, "text2box": 4.0, "box2ocr": 4.0, "ocr2box": 0.3, "counting": 0.6}
_resize, _ask, *_rest = _base_.train_dataloader.dataset.transforms
_ask = {**_ask, **_style, "captions": False, "weights": _weights}
train_dataloader = {"dataset": {"transforms": [_resize, _ask, *_rest]}}
_resize, _ask, *_rest = _base_.val_dataloader.dataset.transforms
val_dataloader = {"dataset": {"transforms": [_resize, {**_ask, **_style}, *_rest]}}
_warmup, _decay = _base_.param_scheduler
param_scheduler = [_warmup, {**_decay, "begin": 0.534}]
_phases = ("ScheduleHook", "ReportHook")
custom_hooks = [*(hook for hook in _base_.custom_hooks if hook["type"] not in _phases), {"type": "ReportHook", "before": False}]
