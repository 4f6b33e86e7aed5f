"""Stage III for minutes on two cores: embedded scenes with questions about them, and a small language model from a config.

From a Stage II checkpoint: --cfg-options load_from=work_dirs/finevit_tiny_stage2/iter_400.pth
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
train_dataloader = dict(
    batch_size=16,
    batch_sampler=dict(resolution=dict(side=168), text_length=dict(type="Constant", value=512)),
)
val_dataloader = dict(dataset=dict(pixels=168 * 168, text_length=1024))
optim_wrapper = dict(
    type="BFloat16OptimWrapper",
    optimizer=dict(type="TimmMuon", lr=3e-3, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(
        flat_decay_mult=0.0,
        bypass_duplicate=True,  # embedding and output of the language model are one matrix
        custom_keys={name: dict(use_fallback=True) for name in ("backbone.embed", "embed_tokens", "connector.place")},
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
