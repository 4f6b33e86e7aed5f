"""Stage II for minutes on two cores: embedded scenes with their captions, the small text transformer, Muon.

From a Stage I checkpoint: --cfg-options load_from=work_dirs/finevit_tiny_stage1/iter_600.pth
What makes it learn, and what each part is worth: docs/performance.md.
"""

_base_ = ["_base_/runtime.py", "_base_/embedded_captions.py"]

model = dict(
    type="ContrastiveLearning",
    backbone=dict(type="FineViT", arch="tiny"),
    text_encoder=dict(type="TextTransformer", tokenizer="scenes", depth=2, dim=192, heads=3, context=256),
    head=dict(type="SigmoidHead", embed_dim=256, scale=12.0, bias=-10.0),
)
train_dataloader = dict(
    batch_size=48,
    batch_sampler=dict(
        resolution=dict(_delete_=True, type="StepResolution", milestones=[(0.0, 84), (0.6, 112)]),
        text_length=dict(type="Milestones", milestones=[(0.0, 48), (0.4, 80), (0.8, 128)]),
    ),
)
val_dataloader = dict(dataset=dict(pixels=112 * 112, text_length=256))
optim_wrapper = dict(
    type="BFloat16OptimWrapper",
    optimizer=dict(type="TimmMuon", lr=3e-3, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(
        flat_decay_mult=0.0,
        custom_keys={name: dict(use_fallback=True) for name in ("backbone.embed", "text_encoder.embed", "head.image", "head.text")},
    ),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, by_epoch=False, begin=0, end=10),
    dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0),  # times the warmup; ends with the run
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=400)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="Retrieval")]
