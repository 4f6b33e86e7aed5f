"""Linear segmentation on ADE20K: a 1 x 1 convolution on the frozen encoder's last map (tools/probe.py has DINOv3's protocol)."""

_base_ = "upernet_finevit_l_ade20k.py"

model = dict(
    backbone=dict(frozen=True, drop_path=0.0, recompute=False, out_layers=[-1]),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type="FCNHead",
        in_channels=1536,
        in_index=0,
        channels=1536,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
optim_wrapper = dict(_delete_=True, type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=1e-4))
