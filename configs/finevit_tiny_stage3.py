"""Stage III for minutes on two cores: embedded scenes with questions about them, and a small language model from a config.

From a Stage II checkpoint: --cfg-options load_from=work_dirs/finevit_tiny_stage2/iter_400.pth
The encoder learns at a tenth of the rate: at the full one, an untrained language model ruins its features within 250 steps.
"""

_base_ = ["_base_/runtime.py", "_base_/embedded_dialogues.py"]

model = dict(
    type="LLMAlignment",
    backbone=dict(type="FineViT", arch="tiny"),
    connector=dict(type="MergeConnector", hidden=512, frequencies=6),
    llm=dict(
        type="HuggingFaceLLM",
        tokenizer="scenes-chat",
        config=dict(
            model_type="llama",
            initializer_range=0.0625,  # of 1 / sqrt(256)
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
        ),
    ),
    answer_length=48,
)
_weights = dict(global_caption=0.1, box2text=1.0, text2box=2.0, box2ocr=1.0, ocr2box=1.0, counting=0.5)
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        transforms=[
            dict(type="ResizeToBudget"),
            dict(type="AskQuestions", weights=_weights),
            dict(type="Patchify"),
            dict(type="TokenizeDialogue"),
        ]
    ),
    batch_sampler=dict(resolution=dict(side=168), text_length=dict(type="Constant", value=512)),
)
val_dataloader = dict(dataset=dict(pixels=168 * 168, text_length=1024))
optim_wrapper = dict(
    type="BFloat16OptimWrapper",
    optimizer=dict(type="TimmMuon", lr=3e-3, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(
        flat_decay_mult=0.0,
        bypass_duplicate=True,  # embedding and output of the language model are one matrix
        custom_keys={
            "backbone": dict(lr_mult=0.1),
            "backbone.embed": dict(lr_mult=0.1, use_fallback=True),
            **{name: dict(use_fallback=True) for name in ("embed_tokens", "connector.place")},
        },
    ),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.02, by_epoch=False, begin=0, end=25),
    dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0),  # times the warmup; ends with the run
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=1000)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="LocalTasks")]
