"""Attentive probe on embedded scenes: the twin of attentive_probe_finevit_l_imagenet.py for minutes on two cores."""

_base_ = "_base_/tiny_classification.py"

model = dict(backbone=dict(frozen=True), neck=dict(_delete_=True, type="finevit.AttentivePool", in_channels=256, heads=4))
