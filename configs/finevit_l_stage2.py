"""Stage II of the paper: FineViT-L from Stage I against SigLIP2-giant's text tower, frozen first, then trained jointly.

Native resolution, 336^2 -> 448^2 pixels of budget, 64 -> 256 tokens, batch 49,152, 9.3 B pairs seen of 1.56 B, three captioners.

Without further settings it runs on the embedded scenes with a small text tower of its own. For the real thing:
    --launcher pytorch --cfg-options load_from=STAGE_I_CHECKPOINT data_root=PATH model.text_encoder.type=HuggingFaceText
    model.text_encoder.model=google/siglip2-giant-opt-patch16-384
"""

_base_ = ["_base_/runtime.py", "_base_/embedded_captions.py"]

model = dict(
    type="ContrastiveLearning",
    backbone=dict(type="FineViT", arch="large", activation_checkpointing=True),
    text_encoder=dict(type="TextTransformer", tokenizer="scenes", depth=12, dim=768, heads=12, context=256),
    head=dict(type="SigmoidHead", embed_dim=1536),
)
train_dataloader = dict(
    batch_size=192,  # on 256 ranks, the paper's batch of 49,152
    num_workers=8,
    dataset=dict(source=dict(level="medium")),
    batch_sampler=dict(
        resolution=dict(_delete_=True, type="LinearResolution", begin_side=336, end_side=448, end=1.0),
        schedules=dict(Tokenize=dict(max_seq_len=dict(type="Milestones", milestones=[(0.0, 64), (0.33, 128), (0.67, 256)]))),
        balance=8192,
    ),
)
val_dataloader = dict(batch_size=4, dataset=dict(source=dict(level="medium", length=16), pixels=448 * 448, max_seq_len=256))
optim_wrapper = dict(
    type="BFloat16OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.95), weight_decay=1e-4, fused=True),
    paramwise_cfg=dict(flat_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=2000),
    dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0),  # times the warmup; ends with the run
]
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="ScheduleHook", schedules=dict(text_frozen=dict(type="Milestones", milestones=[(0.0, True), (0.1, False)]))),
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=189_209, val_interval=10_000)  # 9.3 B / 49,152
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="Retrieval")]
