"""A small language model learns to search, and what is asked, from painted regions: no encoder is needed, so none is favoured."""

_base_ = ["kept.py"]

model = {"backbone": {"type": "PatchEmbedding"}}
_paint = {"type": "PaintRegions"}
_resize, _ask, *_rest = _base_.train_dataloader.dataset.transforms
train_dataloader = {"dataset": {"transforms": [_resize, _ask, _paint, *_rest]}}
_resize, _ask, *_rest = _base_.val_dataloader.dataset.transforms
val_dataloader = {"dataset": {"transforms": [_resize, _ask, _paint, *_rest]}}
