"""Stage III of the paper: FineViT-L from Stage II through a language model of Qwen3's class, up to 1K pixels a side.

Five tasks in the proportions of FineCap-450M: 63 M global captions, 226 M regions, 142 M + 86 M texts, each asked both ways.

Without further settings it runs on the embedded scenes with a small Qwen3 of random weights. For the real thing:
    --launcher pytorch --cfg-options load_from=STAGE_II_CHECKPOINT data_root=PATH
    model.llm.model=Qwen/Qwen3-8B   (a hub name or a folder)
"""

_base_ = ["_base_/runtime.py", "_base_/embedded_dialogues.py"]

model = dict(
    type="LLMAlignment",
    backbone=dict(type="FineViT", arch="large", activation_checkpointing=True),
    connector=dict(type="MergeConnector"),
    llm=dict(
        type="HuggingFaceLLM",
        tokenizer="scenes-chat",
        config=dict(
            model_type="qwen3",
            hidden_size=512,
            intermediate_size=1536,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=64,
        ),
        activation_checkpointing=True,
    ),
)
_weights = dict(global_caption=63.0, box2text=113.0, text2box=113.0, box2ocr=114.0, ocr2box=114.0)
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    dataset=dict(source=dict(level="medium")),
    batch_sampler=dict(
        resolution=dict(side=1008),
        schedules=dict(
            TokenizeDialogue=dict(max_seq_len=dict(type="Constant", value=4096)),
            AskQuestions=dict(task_weights={task: dict(type="Constant", value=value) for task, value in _weights.items()}),
        ),
        balance=8192,
    ),
)
val_dataloader = dict(batch_size=4, dataset=dict(source=dict(level="medium", length=8), pixels=1008 * 1008, max_seq_len=4096))
optim_wrapper = dict(
    type="BFloat16OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-5, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=2000),
    dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0),  # times the warmup; ends with the run
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=100_000, val_interval=10_000)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="LocalTasks")]
