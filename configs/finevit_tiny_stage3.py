"""Stage III for half an hour on two cores: the connector learns first, then encoder and language model with it.

Embedded scenes with questions about them, and a small language model of random weights, from a Stage II checkpoint:
    --cfg-options load_from=work_dirs/finevit_tiny_stage2/iter_400.pth
"""

_base_ = ["_base_/runtime.py", "_base_/embedded_dialogues.py", "_base_/muon.py", "_base_/tiny_llm.py"]

model = dict(
    type="LLMAlignment",
    backbone=dict(type="FineViT", arch="tiny"),
    connector=dict(type="MergeConnector", mlp_dim=512),
    answer_length=48,
)
_style = dict(style="bins100")
_resize, _ask, *_rest = _base_.train_dataloader.dataset.transforms
train_dataloader = dict(
    batch_size=16,
    dataset=dict(source=dict(level="signs"), transforms=[_resize, dict(_ask, **_style, max_questions=3), *_rest]),
    batch_sampler=dict(schedules=dict(TokenizeDialogue=dict(max_seq_len=dict(type="Constant", value=512)))),
)
_resize, _ask, *_rest = _base_.val_dataloader.dataset.transforms
val_dataloader = dict(
    dataset=dict(source=dict(level="signs"), transforms=[_resize, dict(_ask, **_style), *_rest], max_seq_len=1024),
)
_rates = {"backbone": dict(lr_mult=0.3), "backbone.embed": dict(lr_mult=0.3), "embed_tokens": dict(use_fallback=True)}
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True, custom_keys=_rates))
_frozen = dict(type="Milestones", milestones=[(0.0, True), (0.1, False)])  # in fractions of the run
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="ScheduleHook", schedules=dict(backbone_frozen=_frozen, llm_frozen=_frozen)),
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=2000)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="LocalTasks")]
