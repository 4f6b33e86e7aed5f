"""Stage III for half an hour on two cores: embedded scenes with questions about them, and a small language model from a config.

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
_asked = dict(global_caption=0.02, box2text=0.5, text2box=4.0, box2ocr=4.0, ocr2box=0.3, counting=0.6)
# Beside other tasks, to read and to search get too little of the gradient to be learned. So the encoder first learns to read
# close-ups, through a language model that is put back to its beginning; then that learns to search painted regions, to read too,
# and at last sees whole scenes. In shares of the run, each until:
_reading, _searching, _both, _seeing = 0.178, 0.417, 0.534, 0.697
_phases = [
    (0.0, dict(box2ocr=1.0, box2text=0.05)),
    (_reading, dict(text2box=1.0)),
    (_searching, dict(text2box=1.0, box2ocr=1.0)),
    (_both, _asked),
]
_style = dict(style="letters25")
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        source=dict(level="signs"),
        transforms=[
            dict(type="CropToRegion", kinds=["text_line"], margin=(0.1, 0.6)),
            dict(type="ResizeToBudget"),
            dict(type="AskQuestions", **_style, most=3, captions=False, weights=_asked),
            dict(type="PaintRegions"),
            dict(type="Patchify"),
            dict(type="TokenizeDialogue"),
        ],
    ),
    batch_sampler=dict(
        text_length=dict(type="Constant", value=512),
        painted=dict(type="Milestones", milestones=[(0.0, 0.0), (_reading, 1.0), (_both, 0.0)]),
        close_up=dict(type="Milestones", milestones=[(0.0, 1.0), (_reading, 0.0), (_searching, 0.7), (_both, 0.25)]),
        mixture={
            task: dict(type="Milestones", milestones=[(begin, asked.get(task, 0.0)) for begin, asked in _phases]) for task in _asked
        },
    ),
)
_resize, _ask, *_rest = _base_.val_dataloader.dataset.transforms
val_dataloader = dict(
    dataset=dict(source=dict(level="signs"), transforms=[_resize, dict(_ask, **_style), *_rest], text_length=1024),
)
_backbone = {"backbone": dict(lr_mult=0.3), "backbone.embed": dict(lr_mult=0.3)}  # the full rate ruins what it knows
_embeddings = {name: dict(use_fallback=True) for name in ("embed_tokens", "connector.place")}
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True, custom_keys={**_backbone, **_embeddings}))
_warmup, _decay = _base_.param_scheduler
param_scheduler = [  # the full rate until whole scenes are seen, but for the end of searching alone, which thus comes to rest
    _warmup,
    dict(type="ConstantLR", by_epoch=False, factor=0.2, begin=0.32, end=_searching),
    dict(_decay, begin=_both),
]
_frozen = [(0.0, True), (0.03, False), (_reading, True), (_searching + 0.01, False), (_seeing, True), (0.93, False)]
_schedules = dict(backbone_frozen=dict(type="Milestones", milestones=_frozen))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="ScheduleHook", schedules=_schedules),
    dict(type="ResetHook", parts=["connector", "llm"], begin=_reading),
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=3600)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="LocalTasks")]
