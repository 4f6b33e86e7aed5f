"""The tiny stages made smaller still, so that a step costs some milliseconds."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMON = """
train_cfg = dict(max_iters={steps}, val_interval=4)
optim_wrapper = dict(accumulative_counts={accumulates})
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
"""
ARCH = 'dict(_delete_=True, type="FineViT", arch=dict(depth=2, dim=32, heads=2, mlp_dim=64))'
STAGES = {
    1: """
model = dict(backbone={arch}, teacher=dict(_delete_=True, type="RandomFeatureTeacher", dim=16))
train_dataloader = dict(batch_size=4, num_workers={workers}, batch_sampler=dict(resolution=dict(side=112)))
val_dataloader = dict(batch_size=4, num_workers={workers}, dataset=dict(source=dict(length=8), pixels=112 * 112))
""",
    2: """
model = dict(backbone={arch}, text_encoder=dict(depth=1, dim=24, heads=1), head=dict(embed_dim=16))
train_dataloader = dict(batch_size=4, num_workers={workers})
val_dataloader = dict(batch_size=4, num_workers={workers}, dataset=dict(source=dict(length=8)))
""",
    3: """
model = dict(
    backbone={arch},
    connector=dict(mlp_dim=64),
    llm=dict(config=dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2)),
)
train_dataloader = dict(batch_size=2, num_workers={workers})
val_dataloader = dict(batch_size=2, num_workers={workers}, dataset=dict(source=dict(length=4)))
""",
}


def write(folder: Path, stage: int, *, steps: int = 8, workers: int = 0, accumulates: int = 1) -> Path:
    """The config file of a run of ``steps``, which saves at each second and validates at each fourth."""
    path = folder / f"small{stage}_{workers}_{accumulates}.py"
    base = f'_base_ = ["{ROOT}/configs/finevit_tiny_stage{stage}.py"]\n'
    own = STAGES[stage].format(arch=ARCH, workers=workers)
    path.write_text(base + own + COMMON.format(steps=steps, accumulates=accumulates))
    return path
