"""Stage III as the paper has it, for the test of loss curves: connector first, then the encoder and the language model with it."""

_base_ = [
    "../../configs/_base_/runtime.py",
    "../../configs/_base_/embedded_dialogues.py",
    "../../configs/_base_/muon.py",
    "../../configs/_base_/tiny_llm.py",
]

model = dict(
    type="LLMAlignment",
    backbone=dict(type="FineViT", arch="tiny", locality=4.0),
    connector=dict(type="MergeConnector", hidden=512),
    answer_length=48,
)
train_dataloader = dict(
    dataset=dict(source=dict(level="signs")),
    batch_sampler=dict(text_length=dict(type="Constant", value=512)),
)
_names = ("embed_tokens", "connector.place")
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True, custom_keys={name: dict(use_fallback=True) for name in _names}))
_frozen = dict(type="Milestones", milestones=[(0.0, True), (0.3, False)])
custom_hooks = [*_base_.custom_hooks, dict(type="ScheduleHook", schedules=dict(backbone_frozen=_frozen, llm_frozen=_frozen))]
train_cfg = dict(type="StatelessTrainLoop", max_iters=20)
val_cfg = dict(type="ValLoop")
