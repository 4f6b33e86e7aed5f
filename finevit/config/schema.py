"""What MMEngine does with each setting: the registry its ``type`` names, the arguments it adds, the keys it takes away.

Tables, so that the checker of configs (``validation.py``) needs no knowledge of single settings.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from mmengine import registry
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from finevit.config.dotted import at
from finevit.registry import ENGINES, EXECUTORS, PASSES

ROOTS: tuple[Registry, ...] = tuple(value for value in vars(registry).values() if isinstance(value, Registry))
"""MMEngine's registries."""


class Slot(NamedTuple):
    """A setting that holds a component, or a list of them, or (``many``) components by name, ``nested`` ones at any depth.

    ``given`` arguments come from the caller, ``extra`` keys are taken out before the constructor is called,
    ``default`` is the type where none is named. A ``plain`` setting may also hold a value, where it stands elsewhere.
    ``contract`` is the class to derive from, where the registry holds several kinds.
    """

    registry: Registry
    given: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    default: str = ""
    many: bool = False
    plain: bool = False
    nested: bool = False
    contract: str = "builtins:object"


class Arguments(NamedTuple):
    """Keyword arguments of a callable: all, the ``required`` ones, and whether it takes any other (``open``)."""

    names: frozenset[str]
    required: frozenset[str]
    open: bool = False


_KINDS = "finevit.recaption.contracts"
SLOTS: dict[str, Slot] = {
    "model": Slot(registry.MODELS, plain=True),
    "data_preprocessor": Slot(registry.MODELS),
    "backbone": Slot(registry.MODELS),
    "teacher": Slot(registry.MODELS),
    "text_encoder": Slot(registry.MODELS),
    "connector": Slot(registry.MODELS, given=("dim", "llm_dim")),
    "llm": Slot(registry.MODELS),
    "head": Slot(registry.MODELS, given=("dim", "target_dim", "image_dim", "text_dim")),
    "dataset": Slot(registry.DATASETS),
    "source": Slot(registry.DATASETS),
    "transforms": Slot(registry.TRANSFORMS),
    "sampler": Slot(registry.DATA_SAMPLERS, given=("dataset", "seed")),
    "batch_sampler": Slot(registry.DATA_SAMPLERS, given=("sampler", "batch_size")),
    "collate_fn": Slot(registry.FUNCTIONS),
    "worker_init_fn": Slot(registry.FUNCTIONS),
    "resolution": Slot(registry.TASK_UTILS),
    "schedules": Slot(registry.TASK_UTILS, many=True, nested=True),
    "optim_wrapper": Slot(registry.OPTIM_WRAPPERS, extra=("constructor", "paramwise_cfg"), default="OptimWrapper"),
    "optimizer": Slot(registry.OPTIMIZERS, given=("params",)),
    "param_scheduler": Slot(
        registry.PARAM_SCHEDULERS, given=("optimizer", "param_name"), extra=("convert_to_iter_based", "epoch_length")
    ),
    "train_cfg": Slot(registry.LOOPS, given=("runner", "dataloader")),
    "val_cfg": Slot(registry.LOOPS, given=("runner", "dataloader", "evaluator"), default="ValLoop"),
    "test_cfg": Slot(registry.LOOPS, given=("runner", "dataloader", "evaluator"), default="TestLoop"),
    "val_evaluator": Slot(registry.METRICS),
    "test_evaluator": Slot(registry.METRICS),
    "metrics": Slot(registry.METRICS),
    "default_hooks": Slot(registry.HOOKS, extra=("priority",), many=True),
    "custom_hooks": Slot(registry.HOOKS, extra=("priority",)),
    "visualizer": Slot(registry.VISUALIZERS, given=("name",), default="Visualizer"),
    "vis_backends": Slot(registry.VISBACKENDS, given=("save_dir",)),
    "log_processor": Slot(registry.LOG_PROCESSORS, default="LogProcessor"),
    "init_cfg": Slot(registry.WEIGHT_INITIALIZERS, extra=("layer", "override")),
    "passes": Slot(PASSES, many=True),
    "executor": Slot(EXECUTORS, default="ProcessPool"),
    "captioner": Slot(ENGINES, contract=f"{_KINDS}:Captioner"),
    "captioners": Slot(ENGINES, many=True, plain=True, contract=f"{_KINDS}:Captioner"),  # elsewhere weights of captions
    "extractor": Slot(ENGINES, contract=f"{_KINDS}:PhraseExtractor"),
    "grounder": Slot(ENGINES, contract=f"{_KINDS}:Grounder"),
    "ocr": Slot(ENGINES, contract=f"{_KINDS}:OCREngine"),
}
"""By the name of the setting, wherever it stands."""


HANDED_ON: dict[str, frozenset[str]] = {
    "CheckpointHook.__init__": frozenset({"minutes"}),  # of the durable hook, which takes its place
    "EMAHook.__init__": frozenset({"momentum", "gamma", "interval", "device", "update_buffers"}),  # to MMEngine's averaged models
}
"""What an ``__init__`` takes by ``**kwargs`` for something else than its base class."""


IGNORED = frozenset({"on_trace_ready", "custom_imports", "custom_keys", "services", "prompts"})
"""Settings whose ``type`` is not a registered name, that are used up when the config is loaded, or whose keys are free."""


RESERVED = frozenset({"type", "_scope_", "_delete_"})
"""Keys of a component that are no arguments."""


def scoped(registry: Registry, scope: str) -> Registry:
    """The registry in which MMEngine would look a name up."""
    try:
        import_module(f"{scope}.registry")
    except (ImportError, TypeError, ValueError):  # of odd names
        return registry
    return registry.children.get(scope, registry)


def registered(registry: Registry, kind: Any) -> Callable | None:
    """The component of that name, or a class or function itself; None where there is none."""
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    try:
        found = registry.get(kind)
    except Exception:  # MMEngine imports what is no name of its own, and modules are programs
        return None
    return found if callable(found) else None


def slot_of(key: str, value: dict) -> Slot | None:
    """The slot of a setting, with what MMEngine assumes where no type is given."""
    slot = SLOTS.get(key)
    if key == "train_cfg" and "type" not in value:
        loop = "EpochBasedTrainLoop" if value.get("by_epoch") else "IterBasedTrainLoop"
        return SLOTS[key]._replace(default=loop, extra=("by_epoch",))
    if key.endswith("_evaluator") and "metrics" in value:
        return Slot(registry.EVALUATOR, default="Evaluator")
    return slot


def arguments(component: Callable) -> Arguments:
    """The keyword arguments of a class or function. A function's positional ones are left to its caller.

    A class without an ``__init__`` takes none. ``**kwargs`` is followed into the base class where it is handed on to that, and to
    what ``HANDED_ON`` says.
    """
    if not inspect.isclass(component):
        parameters = list(inspect.signature(component).parameters.values())
        return _arguments([p for p in parameters if p.kind is not p.POSITIONAL_ONLY], required=(inspect.Parameter.KEYWORD_ONLY,))
    initialisers = [cls.__init__ for cls in component.__mro__ if "__init__" in vars(cls)]  # type: ignore[misc]
    if initialisers[0] is object.__init__ and component.__new__ is object.__new__:
        return Arguments(frozenset(), frozenset())
    found, goes_on = Arguments(frozenset(), frozenset(), open=True), True
    for initialiser in initialisers:
        if found.open and goes_on:
            parameters = list(inspect.signature(initialiser).parameters.values())[1:]
            own = _arguments(parameters, required=(inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD))
            names = HANDED_ON.get(initialiser.__qualname__)
            found = Arguments(
                found.names | own.names | (names or set()),
                found.required | (own.required - found.names),
                own.open and names is None,
            )
            goes_on = _hands_on(initialiser)
    return found


def _hands_on(initialiser: Callable) -> bool:
    """Whether an ``__init__`` gives its ``**kwargs`` to that of the base class."""
    try:
        return re.search(r"super\(\)\.__init__\([^)]*\*\*", inspect.getsource(initialiser)) is not None
    except (OSError, TypeError):  # no source, as of classes in C
        return False


def _arguments(parameters: list[inspect.Parameter], required: tuple) -> Arguments:
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return Arguments(
        frozenset(p.name for p in named),
        frozenset(p.name for p in named if p.default is p.empty and p.kind in required),
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def _names(function: Callable, without: str) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters) - {without, "self"}


TOP_LEVEL = _names(Runner.__init__, without="cfg") | {
    "data_root",
    "val_data_root",
    "custom_imports",
    "model_wrapper_cfg",
    "sync_bn",
    "find_unused_parameters",
    "compile",
    "activation_checkpointing",
    "efficient_conv_bn_eval",
    "runner_type",
}
"""Settings of a whole config: the Runner's arguments, what it reads beside them, and our ``data_root`` and ``val_data_root``."""

RECAPTIONING = frozenset(
    {
        "source",
        "license",
        "passes",
        "executor",
        "services",
        "dataset_dir",
        "work_dir",
        "data_root",
        "default_scope",
        "custom_imports",
    }
)
"""Those of a run that recaptions, which trains nothing."""

DATALOADER = _names(DataLoader.__init__, without="self") | {"num_batch_per_epoch", "disable_subprocess_warning"}

PARAMWISE = (
    *("custom_keys", "bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult", "flat_decay_mult"),
    *("bypass_duplicate", "dcn_offset_lr_mult", "layer_decay_rate"),
)

PLAIN: dict[str, frozenset[str]] = {
    "train_dataloader": DATALOADER,
    "val_dataloader": DATALOADER,
    "test_dataloader": DATALOADER,
    "env_cfg": frozenset({"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"}),
    "env_cfg.mp_cfg": _names(set_multi_processing, without="distributed"),
    "randomness": _names(Runner.set_randomness, without="self"),
    "auto_scale_lr": frozenset({"base_batch_size", "enable"}),
    "optim_wrapper.clip_grad": _names(clip_grad_norm_, "parameters") | _names(clip_grad_value_, "parameters") | {"type"},
    "optim_wrapper.paramwise_cfg": frozenset(PARAMWISE),
}
"""Keys of the settings that hold no component, by their path (``paramwise_cfg``: MMEngine's and mmpretrain's)."""

READERS: dict[str, Callable] = {
    "train_dataloader": DataLoader,
    "val_dataloader": DataLoader,
    "test_dataloader": DataLoader,
    "env_cfg.mp_cfg": set_multi_processing,
    "randomness": Runner.set_randomness,
}
"""What takes these as arguments, with annotations."""

LISTED = ("transforms", "param_scheduler", "custom_hooks", "vis_backends", "metrics", "val_evaluator", "test_evaluator")
"""Settings that hold one component or several."""


def misshapen(cfg: Mapping[str, Any]) -> list[str]:
    """One line for each setting that holds something else than the dict, or the list of dicts, that belongs there."""
    errors = [f"{path}={value!r}: give a dict with a type" for path, key, value in _held(cfg) if not _shaped(path, key, value)]
    plain = [(path, at(cfg, path.split("."))) for path in PLAIN]
    return errors + [f"{path}={value!r}: give a dict of settings" for path, value in plain if not isinstance(value, dict | None)]


def _held(node: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Path, name and value of every setting that is known to hold components."""
    for name, value in node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ():
        where = f"{path}.{name}" if path else str(name)
        if name in SLOTS and not (SLOTS[name].plain and path):
            listed = list(enumerate(value)) if isinstance(value, list | tuple) and name in LISTED else []
            items = list(value.items()) if isinstance(value, dict) and SLOTS[name].many else listed
            yield from [(f"{where}.{index}", str(name), item) for index, item in items if not isinstance(item, dict)]
            yield where, str(name), value
        if not (isinstance(value, dict) and "." in str(value.get("type", "")).removeprefix("finevit.")):  # another package's ways
            yield from _held(value, where)


def _shaped(path: str, key: str, value: Any) -> bool:
    if isinstance(value, list | tuple) and key in LISTED and path.endswith(key):
        return True
    return (
        isinstance(value, dict)
        or (value is None and not path[-1:].isdecimal())
        or (callable(value) and not isinstance(value, type))
    )
