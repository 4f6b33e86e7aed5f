"""The embedded scenes at native resolution: training data, and unseen scenes with their truth for validation."""

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        type="NativeImages",
        source=dict(type="Scenes", level="easy", split="train"),
        transforms=[dict(type="ResizeToBudget"), dict(type="Patchify")],
    ),
    sampler=dict(type="StatelessSampler"),
    batch_sampler=dict(type="NativeBatchSampler", resolution=dict(type="ConstantResolution", side=224)),
    collate_fn=dict(type="finevit.pack_samples"),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    dataset=dict(
        type="NativeImages",
        source=dict(type="Scenes", level="easy", split="val", length=256),
        transforms=[dict(type="ResizeToBudget"), dict(type="Patchify")],
        pixels=224 * 224,
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="finevit.pack_samples", keys=["labels", "id"]),
)
