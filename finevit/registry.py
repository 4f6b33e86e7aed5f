"""The child registries of MMEngine in which FineViT's components live.

Scope ``finevit``: any OpenMMLab config reaches a component as ``type='finevit.NAME'``; MMEngine imports this module by itself when
it meets the scope. ``locations`` are imported at the first look-up, so importing this module costs nothing.
"""

from collections.abc import Callable
from typing import Any

from mmengine import registry as root
from mmengine.registry import Registry


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope="finevit", locations=[f"finevit.{name}" for name in locations])


MODELS = _child(root.MODELS, "backbones", "text_encoders", "connectors", "heads", "stages", "engine.preprocess", "downstream.necks")
DATASETS = _child(root.DATASETS, "datasets")
TRANSFORMS = _child(
    root.TRANSFORMS, "datasets.transforms", "datasets.painted", "datasets.captions", "datasets.all_captions", "datasets.dialogues"
)
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, "datasets.samplers")
FUNCTIONS = _child(root.FUNCTIONS, "datasets.packing", "datasets.all_captions", "datasets.dialogues")
HOOKS = _child(
    root.HOOKS,
    "curriculum.hooks",
    "engine.checkpoints",
    "engine.guard",
    "engine.hooks",
    "engine.origins_hook",
    "engine.captions_hook",
    "engine.dialogues_hook",
    "engine.plan_check",
    "engine.zero_shot_hook",
    "engine.report",
    "engine.small_data",
    "engine.strides",
    "engine.waits",
)
LOOPS = _child(root.LOOPS, "engine.loops")
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, "engine.optim")
OPTIMIZERS = _child(root.OPTIMIZERS, "engine.optim")
LOG_PROCESSORS = _child(root.LOG_PROCESSORS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, "engine.layer_decay")
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS)
VISUALIZERS = _child(root.VISUALIZERS)
VISBACKENDS = _child(root.VISBACKENDS)
"""Empty so far: MMEngine's own components serve, but it warns where a scope has no registry for a kind that a config uses."""
METRICS = _child(root.METRICS, "evaluation.metrics", "evaluation.contrastive_metrics", "evaluation.local_metrics")

SCHEDULES = _child(root.TASK_UTILS, "curriculum.schedules")
"""Pure functions of the step (``step -> value``): resolution, mask ratio, loss weight."""


def build_schedule(setting: str, config: Any) -> Callable[[int], Any]:
    """The schedule that a setting asks for; ``ValueError`` names the setting with what is wrong."""
    if not isinstance(config, dict):
        raise ValueError(f"{setting}={config!r}: give a schedule, such as dict(type='Constant', value={config!r})")
    try:
        return SCHEDULES.build(config)
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from error


REGISTRIES: dict[str, Registry] = {
    "model": MODELS,
    "dataset": DATASETS,
    "transform": TRANSFORMS,
    "data sampler": DATA_SAMPLERS,
    "function": FUNCTIONS,
    "hook": HOOKS,
    "loop": LOOPS,
    "optim wrapper": OPTIM_WRAPPERS,
    "optimizer": OPTIMIZERS,
    "metric": METRICS,
    "schedule": SCHEDULES,
}
"""Every registry of this package by the name of its kind, in the order in which tools list them."""
