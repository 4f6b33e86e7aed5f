"""What an installed package may contribute: the hooks of FineViT, one per kind of component.

Each hook returns a mapping from the name that configs use (``type='NAME'``) to the class. Import the classes inside
the hook: a plugin is then cheap to list.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pluggy
from mmengine.registry import Registry

from finevit.contracts import AlignmentLLM, ResolutionSchedule, Teacher
from finevit.registry import MODELS, SCHEDULES

hookspec = pluggy.HookspecMarker("finevit")
hookimpl = pluggy.HookimplMarker("finevit")


@hookspec
def finevit_teachers() -> Mapping[str, type[Teacher]]:  # type: ignore[empty-body]
    """Frozen vision models whose patch features a student learns to predict (Stage I)."""


@hookspec
def finevit_resolution_schedules() -> Mapping[str, type[ResolutionSchedule]]:  # type: ignore[empty-body]
    """Pure functions of the step that say how large an image may be."""


@hookspec
def finevit_alignment_llms() -> Mapping[str, type[AlignmentLLM]]:  # type: ignore[empty-body]
    """Causal language models that read projected visual features (Stage III)."""


class Kind(NamedTuple):
    """A kind of contribution: its name for people, the class to derive from, and the registry that takes it."""

    name: str
    contract: type
    registry: Registry


KINDS: dict[str, Kind] = {
    "finevit_teachers": Kind("teacher", Teacher, MODELS),
    "finevit_resolution_schedules": Kind("resolution schedule", ResolutionSchedule, SCHEDULES),
    "finevit_alignment_llms": Kind("alignment LLM", AlignmentLLM, MODELS),
}
"""What each hook contributes."""
