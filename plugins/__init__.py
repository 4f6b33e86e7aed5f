"""The plugins that come with FineViT, through the same hooks as anybody's."""

from collections.abc import Mapping

from finevit.contracts import AlignmentLLM, ResolutionSchedule, Teacher
from finevit.plugins import hookimpl


@hookimpl
def finevit_teachers() -> Mapping[str, type[Teacher]]:
    """Hugging Face and timm ViTs, the package-borne DINOv2-S, and a fixed random one for tests."""
    from finevit_plugins.teachers import TEACHERS

    return TEACHERS


@hookimpl
def finevit_resolution_schedules() -> Mapping[str, type[ResolutionSchedule]]:
    """Constant, linear and stepwise resolution."""
    from finevit_plugins.schedules import SCHEDULES

    return SCHEDULES


@hookimpl
def finevit_alignment_llms() -> Mapping[str, type[AlignmentLLM]]:
    """Any Hugging Face causal model, and a plain PyTorch one."""
    from finevit_plugins.llms import LLMS

    return LLMS
