"""What an installed package may contribute: the hooks of FineViT, one row per kind of component.

Each hook returns a mapping from the name that configs use (``type='NAME'``) to the class. Import the classes inside
the hook: a plugin is then cheap to list.
"""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import pluggy
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import Registry

from finevit.contracts import AlignmentLLM, Connector, Head, ImageEncoder, ResolutionSchedule, Source, Teacher, TextEncoder
from finevit.registry import DATASETS, HOOKS, METRICS, MODELS, SCHEDULES, TASKS, TRANSFORMS
from finevit.tasks.task import Task

hookspec = pluggy.HookspecMarker("finevit")
hookimpl = pluggy.HookimplMarker("finevit")


class Kind(NamedTuple):
    """A kind of contribution: its name for people, the class to derive from, and the registry that takes it."""

    name: str
    contract: type
    registry: Registry


KINDS: dict[str, Kind] = {
    "finevit_backbones": Kind("backbone", ImageEncoder, MODELS),
    "finevit_text_encoders": Kind("text encoder", TextEncoder, MODELS),
    "finevit_teachers": Kind("teacher", Teacher, MODELS),
    "finevit_connectors": Kind("connector", Connector, MODELS),
    "finevit_heads": Kind("head", Head, MODELS),
    "finevit_alignment_llms": Kind("alignment LLM", AlignmentLLM, MODELS),
    "finevit_resolution_schedules": Kind("resolution schedule", ResolutionSchedule, SCHEDULES),
    "finevit_sources": Kind("source", Source, DATASETS),
    "finevit_transforms": Kind("transform", Callable, TRANSFORMS),  # type: ignore[arg-type]
    "finevit_tasks": Kind("task", Task, TASKS),
    "finevit_metrics": Kind("metric", BaseMetric, METRICS),
    "finevit_hooks": Kind("hook", Hook, HOOKS),
}
"""What each hook contributes."""


def specifications() -> ModuleType:
    """The hooks, as pluggy wants them: functions of a module, without arguments."""
    module = ModuleType("finevit_hooks")
    for name, kind in KINDS.items():
        setattr(module, name, hookspec(_specification(name, kind)))
    return module


def _specification(name: str, kind: Kind) -> Callable[[], None]:
    def specified() -> None: ...

    specified.__name__ = specified.__qualname__ = name
    specified.__doc__ = f"A mapping from names to {kind.name} classes."
    return specified
