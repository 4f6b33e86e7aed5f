"""Linear segmentation on embedded scenes: the twin of linear_finevit_l_ade20k.py for minutes on two cores."""

_base_ = "upernet_finevit_tiny_scenes.py"

model = dict(
    backbone=dict(frozen=True, out_layers=[-1]),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type="FCNHead",
        in_channels=256,
        in_index=0,
        channels=256,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=17,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
optim_wrapper = dict(_delete_=True, type="OptimWrapper", optimizer=dict(type="AdamW", lr=3e-3, weight_decay=1e-4))
