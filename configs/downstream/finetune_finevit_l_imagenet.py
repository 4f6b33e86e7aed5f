"""Fine-tuning on ImageNet: all of the encoder, with layer-wise decay, label smoothing and stochastic depth; 50 epochs (BEiT)."""

_base_ = "_base_/imagenet.py"

model = dict(
    backbone=dict(drop_path=0.2, activation_checkpointing=True),
    head=dict(loss=dict(_delete_=True, type="LabelSmoothLoss", label_smooth_val=0.1, mode="original")),
)
optim_wrapper = dict(
    _delete_=True,
    constructor="finevit.LayerDecay",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay_rate=0.75, norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=5, end=50, eta_min=1e-6, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=50)
