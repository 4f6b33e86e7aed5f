"""What ViTDet's detectors share (Li et al. 2022, arXiv 2203.16527): the encoder at 1,024 pixels and layer-wise decay."""

custom_hooks = [dict(type="finevit.OriginsHook")]
_encoder = dict(
    type="finevit.FineViT",
    arch="large",
    window=16,
    global_blocks=[6, 13, 20, 27],
    drop_path=0.4,
    activation_checkpointing=True,
    init_cfg=dict(type="Pretrained", checkpoint=None, prefix="backbone."),
)
_strides = [3.5, 7, 14, 28]
_two_stage = dict(
    data_preprocessor=dict(pad_size_divisor=28, batch_augments=[dict(type="BatchFixedSizePad", size=(1036, 1036), pad_mask=True)]),
    backbone=dict(_encoder, _delete_=True),
    neck=dict(_delete_=True, type="finevit.SimpleFPN", in_channels=1536),
    rpn_head=dict(anchor_generator=dict(strides=[*_strides, 56])),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=_strides), mask_roi_extractor=dict(featmap_strides=_strides)),
)
"""Mask R-CNN and Cascade at 1,024 pixels."""
_tiny = dict(arch="tiny", window=0, global_blocks=[], drop_path=0.0, activation_checkpointing=False)
"""What the twins for embedded scenes change of it."""
_tiny_strides = [7, 14, 28]
_tiny_two_stage = dict(
    data_preprocessor=dict(pad_size_divisor=28),
    backbone=dict(_encoder, _delete_=True, **_tiny, frozen=True),
    neck=dict(_delete_=True, type="finevit.SimpleFPN", in_channels=256, out_channels=96, scales=[2, 1, 0.5], num_outs=3),
    rpn_head=dict(in_channels=96, feat_channels=96, anchor_generator=dict(scales=[6], strides=_tiny_strides)),
    test_cfg=dict(rpn=dict(nms_pre=400, max_per_img=200), rcnn=dict(max_per_img=20)),
)
_tiny_roi_head = dict(
    bbox_roi_extractor=dict(out_channels=96, featmap_strides=_tiny_strides),
    mask_roi_extractor=dict(out_channels=96, featmap_strides=_tiny_strides),
    mask_head=dict(in_channels=96, conv_out_channels=96, num_convs=2, num_classes=16),
)
"""Their two-stage detectors, but for the box heads and how proposals are sampled."""
_optim_wrapper = dict(
    type="OptimWrapper",
    constructor="finevit.LayerDecay",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    paramwise_cfg=dict(layer_decay_rate=0.8, norm_decay_mult=0.0, bias_decay_mult=0.0),
)
_tiny_optim_wrapper = dict(
    _optim_wrapper,
    optimizer=dict(type="finevit.TimmMuon", lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
"""The twins': in minutes Muon teaches necks and heads more than AdamW (docs/downstream.md)."""
