"""A connector and a small language model learn to read a frozen encoder; the tasks are scored once, at the end.

All are asked from the start, and for a while most images are crops of regions: how to search, the language model has learned before
(``llm.py``).
"""

_base_ = ["kept.py"]

_crop = {"type": "CropToRegion", "kinds": ["text_line"], "margin": (0.1, 0.6)}
train_dataloader = {
    "dataset": {"transforms": [_crop, *_base_.train_dataloader.dataset.transforms]},
    "batch_sampler": {
        "schedules": {"CropToRegion": {"probability": {"type": "Milestones", "milestones": [(0.0, 0.6), (0.4, 0.1)]}}},
    },
}
