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
_asked = dict(global_caption=0.02, box2text=0.5, text2box=4.0, box2ocr=2.0, ocr2box=0.5, counting=0.6)
_first = dict(text2box=1.0)  # beside other tasks, to search gets too little of the gradient to be learned
# Of the run: first regions are painted, then half of the images are close-ups of texts, then come whole scenes.
_reading, _seeing, _kept = 0.2, 0.45, 0.65
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
        painted=dict(type="Milestones", milestones=[(0.0, 1.0), (_seeing, 0.0)]),
        close_up=dict(type="Milestones", milestones=[(0.0, 0.0), (_reading, 0.5), (_seeing, 0.15)]),
        mixture={
            task: dict(type="Milestones", milestones=[(0.0, _first.get(task, 0.0)), (_reading, weight)])
            for task, weight in _asked.items()
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
param_scheduler = [_warmup, dict(_decay, begin=_seeing)]  # the full rate until whole scenes are seen
_frozen = [(0.0, True), (_reading + 0.02, False), (_kept, True), (0.93, False)]
_schedules = dict(backbone_frozen=dict(type="Milestones", milestones=_frozen))
custom_hooks = [*_base_.custom_hooks, dict(type="ScheduleHook", schedules=_schedules)]
train_cfg = dict(type="StatelessTrainLoop", max_iters=3200)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="LocalTasks")]
