"""A small language model learns to search, and what is asked, from painted regions: no encoder is needed, so none is favoured."""

_base_ = ["kept.py"]

train_dataloader = {
    "batch_sampler": {
        "painted": None,  # all are
        "close_up": {"_delete_": True, "type": "Constant", "value": 0.0},
    }
}
_resize, _ask, *_rest = _base_.val_dataloader.dataset.transforms
val_dataloader = {"dataset": {"transforms": [_resize, _ask, {"type": "PaintRegions"}, *_rest]}}
