"""Stage I for minutes on two cores: the embedded scenes and the teacher that comes inside a package.

The plain recipe of the paper learns next to nothing in minutes. What makes it learn here, in the order of its worth: Muon
instead of AdamW, attention that starts local, targets standardised per channel, and a second copy of each image without a
mask, which shares the teacher's one forward pass (docs/performance.md has the measurements).
"""

_base_ = ["_base_/runtime.py", "_base_/embedded_scenes.py", "_base_/muon.py"]

model = dict(
    type="MaskedDistillation",
    backbone=dict(type="FineViT", arch="tiny", locality=4.0),
    teacher=dict(type="PackagedDinov2Small", layers=[-1], dtype="auto"),
    head=dict(type="DistillationHead", target_norm="channel", visible_weight=1.0),
    mask_ratio=[0.0, 0.75],
)
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.98)), paramwise_cfg=dict(custom_keys={"head": dict(use_fallback=True)}))
train_cfg = dict(type="StatelessTrainLoop", max_iters=600)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="ExplainedVariance"), dict(type="PatchProbe")]
