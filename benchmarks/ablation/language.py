"""A connector and a small language model learn to read a frozen encoder; the tasks are scored once, at the end.

All are asked from the start, and for a while most images are close-ups: how to search, the language model has learned before
(``llm.py``).
"""

_base_ = ["kept.py"]

train_dataloader = {
    "batch_sampler": {
        "painted": {"_delete_": True, "type": "Constant", "value": 0.0},
        "close_up": {"milestones": [(0.0, 0.6), (0.4, 0.1)]},
    }
}
