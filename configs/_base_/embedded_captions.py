"""The embedded scenes with their captions, drawn by captioner and tokenised with the text encoder's own tokenizer."""

_base_ = ["embedded_scenes.py"]

train_dataloader = dict(
    dataset=dict(
        transforms=[
            dict(type="PickCaption", weights=dict(long=0.9, short=0.1)),
            dict(type="ResizeToBudget"),
            dict(type="Patchify"),
            dict(type="DropPatches"),
            dict(type="Tokenize"),
        ]
    ),
)
val_dataloader = dict(
    dataset=dict(
        transforms=[
            dict(type="ResizeToBudget"),
            dict(type="Patchify"),
            dict(type="AllCaptions", names=["long"]),
        ]
    ),
    collate_fn=dict(type="finevit.pack_evaluation", keys=["captions_list", "truncated"]),
)
