"""The child registries of MMEngine in which FineViT's components live.

Scope ``finevit``: any OpenMMLab config reaches a component as ``type='finevit.NAME'``; MMEngine imports this module by itself when
it meets the scope. ``locations`` are imported at the first look-up, so importing this module costs nothing.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from mmengine import registry as root
from mmengine.registry import Registry


class Enforcing(Registry):
    """A registry whose classes refuse, when they are built, values that their signatures do not allow.

    A name is taken once in the registry and its parents: MMEngine would let a class of a user hide one of its own.
    """

    def _register_module(self, module: Any, module_name: Any = None, force: bool = False) -> None:
        own = str(module.__module__).partition(".")[0] in ("finevit", "finevit_plugins")
        for name in [] if own or force else [module_name or module.__name__] if not isinstance(module_name, list) else module_name:
            if taken := owner(self, name, module):
                told = f"the name {name!r} of a {self.name} is claimed by {module.__module__}.{module.__qualname__} and by {taken}"
                raise ValueError(f"{told}; give it another name")
        super()._register_module(module, module_name, force)
        if inspect.isclass(module):
            from finevit.signatures import enforce

            enforce(module)


def owner(registry: Registry, name: str, component: Any) -> str:
    """Who else has a name already, in the registry or in one of its parents; "" where nobody has."""
    registry.import_from_location()
    place: Registry | None = registry
    while place is not None:
        taken = place.module_dict.get(name, component)
        if taken is not component:
            return f"{taken.__module__}.{taken.__qualname__} in the {place.scope} registry of {place.name}s"
        place = place.parent
    return ""


def _child(parent: Registry, *places: str) -> Registry:
    """Of a folder every module counts, so that a new component is one new file."""
    return Enforcing(parent.name, parent=parent, scope="finevit", locations=[name for place in places for name in _modules(place)])


def _modules(place: str) -> list[str]:
    folder = Path(__file__).parent.joinpath(*place.split("."))
    inner = [module.name for module in iter_modules([str(folder)]) if not module.ispkg]
    return [f"finevit.{place}", *(f"finevit.{place}.{name}" for name in inner)]


MODELS = _child(
    root.MODELS, "backbones", "text_encoders", "connectors", "heads", "stages", "engine.data_preprocessor", "downstream.necks"
)
DATASETS = _child(root.DATASETS, "datasets", "datasets.readers", "scenes")
TRANSFORMS = _child(root.TRANSFORMS, "datasets.transforms")
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, "datasets.samplers")
FUNCTIONS = _child(root.FUNCTIONS, "packing", "datasets.transforms")
HOOKS = _child(root.HOOKS, "curriculum.hooks", "engine.hooks", "engine.checkpoints")
LOOPS = _child(root.LOOPS, "engine.loop")
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, "engine.optimizers")
OPTIMIZERS = _child(root.OPTIMIZERS, "engine.optimizers")
LOG_PROCESSORS = _child(root.LOG_PROCESSORS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, "engine.optimizers")
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS)
VISUALIZERS = _child(root.VISUALIZERS)
VISBACKENDS = _child(root.VISBACKENDS)
"""Empty so far: MMEngine's own components serve, but it warns where a scope has no registry for a kind that a config uses."""
METRICS = _child(root.METRICS, "evaluation")

BENCHMARKS = Enforcing("benchmark", scope="finevit", locations=_modules("datasets.readers"))
"""Readers of evaluation sets by the names that ``finevit test --benchmark`` takes. A reader's first argument without default is the
path; its ``task`` is ``retrieval``, ``classification`` or ``questions``, or "" on the class where each set says it."""
EXPORTERS = Enforcing("exporter", scope="finevit", locations=_modules("export"))
"""Formats of other libraries: what ``finevit export --to`` takes."""

REPORT_PAGES = Enforcing("report page", scope="finevit", locations=_modules("visualization"))
"""What the report of a run shows, by the name of the stage's class."""

TASKS = Enforcing("task", scope="finevit", locations=_modules("tasks"))
"""What is asked in Stage III: subclasses of ``finevit.tasks.task.Task``, by the name that weights and questions hold."""

ENGINES = Enforcing("engine", scope="finevit")
"""Captioners, phrase extractors, grounders and OCR engines of recaptioning; the bundled ones come from plugins."""
PASSES = Enforcing("pass", scope="finevit", locations=_modules("recaption.passes"))
EXECUTORS = Enforcing("executor", scope="finevit", locations=_modules("recaption.executors"))
"""What recaptioning does to a shard, and what runs that on many."""
SHARD_FORMATS = Enforcing("shard format", scope="finevit", locations=_modules("shards.formats"))
"""Layouts of annotations that ``finevit shards import`` reads and ``export`` writes."""

SCHEDULES = _child(root.TASK_UTILS, "curriculum.schedules")
"""Pure functions of the step (``step -> value``): resolution, mask ratio, loss weight."""


def kind_of(part: Any) -> str:
    """The name of a component without its package: what its config says, or what its class is called; "" where there is none."""
    kind = (part or {}).get("type") if isinstance(part, Mapping | None) else type(part)
    return kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", "")


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
    "benchmark": BENCHMARKS,
    "task": TASKS,
    "exporter": EXPORTERS,
    "report page": REPORT_PAGES,
    "engine": ENGINES,
    "shard format": SHARD_FORMATS,
}
"""Every registry of this package by the name of its kind, in the order in which tools list them."""
