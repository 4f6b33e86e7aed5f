"""The embedded scenes with questions about them, tokenised with the language model's own tokenizer and chat template."""

_base_ = ["embedded_scenes.py"]

train_dataloader = dict(
    dataset=dict(
        transforms=[
            dict(type="ResizeToBudget"),
            dict(type="AskQuestions"),
            dict(type="Patchify"),
            dict(type="TokenizeDialogue"),
        ]
    ),
    collate_fn=dict(type="finevit.pack_dialogues"),
)
val_dataloader = dict(
    dataset=dict(
        transforms=[
            dict(type="ResizeToBudget"),
            dict(type="AskQuestions", draw=False, max_questions=4),
            dict(type="Patchify"),
            dict(type="TokenizeDialogue", together=False),
        ]
    ),
    collate_fn=dict(type="finevit.pack_dialogues", keys=["questions"]),
)
