"""Linear segmentation on ADE20K: a 1 x 1 convolution on the frozen encoder's last map (finevit probe has DINOv3's protocol)."""

_base_ = ["upernet_finevit_l_ade20k.py", "_base_/linear_head.py"]

model = dict(
    backbone=dict(frozen=True, drop_path=0.0, activation_checkpointing=False, out_layers=[-1]),
    neck=None,
    decode_head=dict(_base_._linear_head, in_channels=1536, channels=1536, num_classes=150),
    auxiliary_head=None,
)
optim_wrapper = dict(_delete_=True, type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=1e-4))
