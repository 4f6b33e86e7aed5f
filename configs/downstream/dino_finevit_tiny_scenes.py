"""DINO on embedded scenes: the twin of dino_finevit_l_coco.py. Detectors of the DETR family learn slowly: give it an hour."""

_base_ = ["_base_/dino.py", "_base_/tiny_detection.py", "_base_/vitdet.py"]

model = dict(
    num_queries=60,
    num_feature_levels=3,
    backbone=dict(_base_._encoder, **_base_._tiny),
    neck=dict(type="finevit.SimpleFPN", in_channels=256, scales=[2, 1, 0.5], num_outs=3),
    encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=dict(num_levels=3), ffn_cfg=dict(feedforward_channels=512))),
    decoder=dict(num_layers=3, layer_cfg=dict(cross_attn_cfg=dict(num_levels=3), ffn_cfg=dict(feedforward_channels=512))),
    bbox_head=dict(num_classes=16),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=30)),
    test_cfg=dict(max_per_img=30),
)
val_evaluator = dict(metric="bbox")
test_evaluator = val_evaluator
optim_wrapper = dict(_base_._optim_wrapper, optimizer=dict(type="AdamW", lr=4e-4, weight_decay=0.01), clip_grad=dict(max_norm=0.1))
