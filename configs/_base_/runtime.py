"""What every run shares: logging, checkpoints, reproducibility. Leaf configs hold only what differs."""

default_scope = "finevit"
work_dir = None  # work_dirs/<name of the config> unless given
data_root = None  # your own data: a folder of images, a .jsonl file, or tars; None is the embedded set
val_data_root = None  # images for validation alone, all of them; None: the part of data_root that is held out
load_from = None
resume = False
launcher = "none"
log_level = "INFO"
randomness = dict(seed=0)
find_unused_parameters = True  # on several ranks: parts may be frozen, by a schedule too
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0), dist_cfg=dict(backend="nccl"))

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="ProgressHook", interval=20, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="StreamingCheckpointHook", interval=1000, minutes=30, by_epoch=False, max_keep_ckpts=2),
    sampler_seed=None,
    runtime_info=dict(type="RuntimeInfoHook"),
)
custom_hooks = [
    dict(type="RunSummaryHook"),
    dict(type="ThroughputHook"),
    dict(type="PlanHook"),
    dict(type="BadSamplesHook"),
    dict(type="CaptionHook"),
    dict(type="DialogueHook"),
    dict(type="NonFiniteHook"),
    dict(type="ExactResumeHook"),
    dict(type="OriginsHook"),
    dict(type="ReportHook"),
    dict(type="SmallDataHook"),
    dict(type="LoaderWatchHook", minutes=10),
]
log_processor = dict(type="LogProcessor", by_epoch=False, window_size=20)
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")])
