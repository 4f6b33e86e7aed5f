"""The plugins that come with FineViT, through the same hooks as anybody's."""

from collections.abc import Mapping
from importlib import import_module
from inspect import isabstract, isclass
from pkgutil import iter_modules

from finevit.contracts import AlignmentLLM, ResolutionSchedule, Teacher
from finevit.plugins import hookimpl


@hookimpl
def finevit_teachers() -> Mapping[str, type[Teacher]]:
    """Hugging Face and timm ViTs, the package-borne DINOv2-S, and a fixed random one for tests."""
    return components("finevit_plugins.teachers", Teacher)


@hookimpl
def finevit_resolution_schedules() -> Mapping[str, type[ResolutionSchedule]]:
    """Constant, linear and stepwise resolution."""
    from finevit_plugins.schedules import SCHEDULES

    return SCHEDULES


@hookimpl
def finevit_alignment_llms() -> Mapping[str, type[AlignmentLLM]]:
    """Any Hugging Face causal model, and a plain PyTorch one."""
    return components("finevit_plugins.llms", AlignmentLLM)


def components(package: str, contract: type) -> dict[str, type]:
    """The complete subclasses of a contract that the modules of a folder define, by name: a new one is one new file there."""
    modules = [import_module(f"{package}.{found.name}") for found in iter_modules(import_module(package).__path__)]
    own = [each for module in modules for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__]
    return {each.__name__: each for each in own if isclass(each) and issubclass(each, contract) and not isabstract(each)}
