"""Muon with a short warm-up, then a cosine to the end of the run: what small encoders learn most with in minutes."""

optim_wrapper = dict(
    type="BFloat16OptimWrapper",
    optimizer=dict(type="TimmMuon", lr=3e-3, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.0, custom_keys={"backbone.embed": dict(use_fallback=True)}),  # AdamW for embeddings
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, by_epoch=False, begin=0, end=25),
    dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0),  # times the warmup; ends with the run
]
