"""The plugins that come with FineViT, through the same hooks as anybody's."""

from collections.abc import Mapping
from importlib import import_module
from inspect import isabstract, isclass
from pkgutil import iter_modules

from finevit.contracts import AlignmentLLM, ResolutionSchedule, Teacher
from finevit.plugins import hookimpl
from finevit.recaption.contracts import Captioner, Grounder, OCREngine, PhraseExtractor


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


@hookimpl
def finevit_captioners() -> Mapping[str, type[Captioner]]:
    """An OpenAI-compatible endpoint, and any Hugging Face vision-language model."""
    return components("finevit_plugins.captioners", Captioner)


@hookimpl
def finevit_phrase_extractors() -> Mapping[str, type[PhraseExtractor]]:
    """An OpenAI-compatible endpoint, spaCy, and rules."""
    return components("finevit_plugins.phrase_extractors", PhraseExtractor)


@hookimpl
def finevit_grounders() -> Mapping[str, type[Grounder]]:
    """An OpenAI-compatible endpoint, and open-vocabulary detectors."""
    return components("finevit_plugins.grounders", Grounder)


@hookimpl
def finevit_ocr_engines() -> Mapping[str, type[OCREngine]]:
    """Readers of the text in images."""
    return components("finevit_plugins.ocr_engines", OCREngine)


def components(package: str, contract: type) -> dict[str, type]:
    """The complete subclasses of a contract that the modules of a folder define, by name: a new one is one new file there."""
    modules = [import_module(f"{package}.{found.name}") for found in iter_modules(import_module(package).__path__)]
    own = [each for module in modules for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__]
    return {each.__name__: each for each in own if isclass(each) and issubclass(each, contract) and not isabstract(each)}
