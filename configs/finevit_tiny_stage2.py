"""Stage II for minutes on two cores: embedded scenes with their captions, the small text transformer, Muon.

From a Stage I checkpoint: --cfg-options load_from=work_dirs/finevit_tiny_stage1/iter_600.pth
What makes it learn, and what each part is worth: docs/performance.md.
"""

_base_ = ["_base_/runtime.py", "_base_/embedded_captions.py", "_base_/muon.py"]

model = dict(
    type="ContrastiveLearning",
    backbone=dict(type="FineViT", arch="tiny", locality=4.0),
    text_encoder=dict(type="TextTransformer", tokenizer="scenes", depth=2, dim=192, heads=3, context=256),
    head=dict(type="SigmoidHead", embed_dim=256, logit_scale=12.0, logit_bias=-10.0),
)
train_dataloader = dict(
    batch_size=48,
    batch_sampler=dict(
        resolution=dict(_delete_=True, type="StepResolution", milestones=[(0.0, 84), (0.6, 112)]),
        schedules=dict(Tokenize=dict(max_seq_len=dict(type="Milestones", milestones=[(0.0, 48), (0.4, 80), (0.8, 128)]))),
    ),
)
val_dataloader = dict(dataset=dict(pixels=112 * 112, max_seq_len=256))
_embeddings = ("text_encoder.embed", "head.image", "head.text")
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={name: dict(use_fallback=True) for name in _embeddings}))
param_scheduler = [dict(_base_.param_scheduler[0], end=10), _base_.param_scheduler[1]]
train_cfg = dict(type="StatelessTrainLoop", max_iters=400)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="Retrieval")]
