"""Stage III for minutes on two cores: embedded scenes with questions about them, and a small language model from a config.

From a Stage II checkpoint: --cfg-options load_from=work_dirs/finevit_tiny_stage2/iter_400.pth
What makes it learn, and what each part is worth: docs/performance.md.
"""

_base_ = ["_base_/runtime.py", "_base_/embedded_dialogues.py", "_base_/muon.py", "_base_/tiny_llm.py"]

model = dict(
    type="LLMAlignment",
    backbone=dict(type="FineViT", arch="tiny"),
    connector=dict(type="MergeConnector", hidden=512, frequencies=6),
    answer_length=48,
)
_weights = dict(global_caption=0.02, box2text=0.5, text2box=4.0, box2ocr=1.5, ocr2box=0.3, counting=0.6)
_style = dict(style="bins100")
train_dataloader = dict(
    batch_size=48,
    dataset=dict(
        source=dict(level="signs"),
        transforms=[
            dict(type="CropToRegion", probability=0.6, kinds=["text_line"]),
            dict(type="ResizeToBudget"),
            dict(type="AskQuestions", **_style, weights=_weights, most=3, captions=False),
            dict(type="Patchify"),
            dict(type="TokenizeDialogue"),
        ],
    ),
    batch_sampler=dict(
        resolution=dict(_delete_=True, type="StepResolution", milestones=[(0.0, 168), (0.75, 224)]),
        text_length=dict(type="Constant", value=512),
    ),
)
_resize, _ask, *_rest = _base_.val_dataloader.dataset.transforms
val_dataloader = dict(
    dataset=dict(transforms=[_resize, dict(_ask, **_style), *_rest], pixels=224 * 224, text_length=1024),
)
_backbone = {"backbone": dict(lr_mult=0.3), "backbone.embed": dict(lr_mult=0.3)}  # the full rate ruins what it knows
_embeddings = {name: dict(use_fallback=True) for name in ("embed_tokens", "connector.place")}
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True, custom_keys={**_backbone, **_embeddings}))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="ScheduleHook", schedules=dict(backbone_frozen=dict(type="Milestones", milestones=[(0.0, True), (0.05, False)]))),
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=1800)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="LocalTasks")]
