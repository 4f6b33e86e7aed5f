"""The tiny configurations' models with a batch of their own data, for tests of what a step does with its device."""

from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from finevit.config.loading import load_config
from finevit.plugins import load_plugins
from finevit.registry import MODELS


def model_and_batch(stage: str, images: int, **model: dict) -> tuple[nn.Module, dict]:
    """Of ``stage1``, ``stage2`` or ``stage3``, on the host.

    ``model`` replaces settings of the model.
    """
    load_plugins()
    cfg = load_config(f"configs/finevit_tiny_{stage}.py", {})
    for name, config in model.items():
        cfg.model[name] = config  # update() would mix both
    cfg.train_dataloader.update(batch_size=images, num_workers=0, persistent_workers=False)
    with DefaultScope.overwrite_default_scope("finevit"):
        batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
        return MODELS.build(cfg.model), batch
