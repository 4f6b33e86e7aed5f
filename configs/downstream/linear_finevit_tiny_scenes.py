"""Linear segmentation on embedded scenes: the twin of linear_finevit_l_ade20k.py for minutes on two cores."""

_base_ = ["upernet_finevit_tiny_scenes.py", "_base_/linear_head.py"]

model = dict(
    backbone=dict(frozen=True, out_layers=[-1]),
    neck=None,
    decode_head=dict(_base_._linear_head, in_channels=256, channels=256, num_classes=17),
    auxiliary_head=None,
)
optim_wrapper = dict(_delete_=True, type="OptimWrapper", optimizer=dict(type="AdamW", lr=3e-3, weight_decay=1e-4))
