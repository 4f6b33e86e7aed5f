"""What an installed package may contribute: the hooks of FineViT, one row per kind of component.

Each hook returns a mapping from the name that configs use (``type='NAME'``) to the class. Import the classes inside
the hook: a plugin is then cheap to list.
"""

from collections.abc import Callable
from pkgutil import resolve_name
from types import ModuleType
from typing import NamedTuple

import pluggy
from mmengine.registry import Registry

from finevit.registry import DATASETS, ENGINES, HOOKS, METRICS, MODELS, SCHEDULES, TASKS, TRANSFORMS

hookspec = pluggy.HookspecMarker("finevit")
hookimpl = pluggy.HookimplMarker("finevit")


class Kind(NamedTuple):
    """A kind of contribution: its name for people, where the class to derive from is, and the registry that takes it."""

    name: str
    base: str
    registry: Registry

    @property
    def contract(self) -> type:
        """The class to derive from, imported when it is asked for: MMEngine's bring all of it."""
        return resolve_name(self.base)


KINDS: dict[str, Kind] = {
    "finevit_backbones": Kind("backbone", "finevit.contracts:ImageEncoder", MODELS),
    "finevit_text_encoders": Kind("text encoder", "finevit.contracts:TextEncoder", MODELS),
    "finevit_teachers": Kind("teacher", "finevit.contracts:Teacher", MODELS),
    "finevit_connectors": Kind("connector", "finevit.contracts:Connector", MODELS),
    "finevit_heads": Kind("head", "finevit.contracts:Head", MODELS),
    "finevit_alignment_llms": Kind("alignment LLM", "finevit.contracts:AlignmentLLM", MODELS),
    "finevit_resolution_schedules": Kind("resolution schedule", "finevit.contracts:ResolutionSchedule", SCHEDULES),
    "finevit_sources": Kind("source", "finevit.contracts:Source", DATASETS),
    "finevit_transforms": Kind("transform", "collections.abc:Callable", TRANSFORMS),
    "finevit_tasks": Kind("task", "finevit.tasks.task:Task", TASKS),
    "finevit_metrics": Kind("metric", "mmengine.evaluator:BaseMetric", METRICS),
    "finevit_hooks": Kind("hook", "mmengine.hooks:Hook", HOOKS),
    "finevit_captioners": Kind("captioner", "finevit.recaption.contracts:Captioner", ENGINES),
    "finevit_phrase_extractors": Kind("phrase extractor", "finevit.recaption.contracts:PhraseExtractor", ENGINES),
    "finevit_grounders": Kind("grounder", "finevit.recaption.contracts:Grounder", ENGINES),
    "finevit_ocr_engines": Kind("OCR engine", "finevit.recaption.contracts:OCREngine", ENGINES),
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
