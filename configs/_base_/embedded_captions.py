"""The embedded scenes with their captions, drawn by captioner and tokenised with the text encoder's own tokenizer.

``captioners`` are those of the scenes and stand with them: other data (``data_root``) has its own, which weigh the same unless
``PickCaption.weights`` says otherwise.
"""

_base_ = ["embedded_scenes.py"]

train_dataloader = dict(
    dataset=dict(
        source=dict(captioners=dict(long=0.9, short=0.1)),
        transforms=[
            dict(type="PickCaption"),
            dict(type="ResizeToBudget"),
            dict(type="Patchify"),
            dict(type="DropPatches"),
            dict(type="Tokenize"),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        source=dict(captioners=dict(long=1.0)),
        transforms=[
            dict(type="ResizeToBudget"),
            dict(type="Patchify"),
            dict(type="AllCaptions"),
        ],
    ),
    collate_fn=dict(type="finevit.pack_evaluation", keys=["captions_list", "truncated"]),
)
