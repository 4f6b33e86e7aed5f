"""A run in words that may be given away: its source, models and settings, without addresses, keys and folders of a machine."""

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from finevit.recaption.passes.base import Pass
from finevit.recaption.work import essence

STAND_IN = "stand-in"
"""How the name of a model begins that knows the truth, and sees nothing."""
SECRET = re.compile(r"(^|_)(api_?key|keys?|secret|password|token|headers?|authorization|base_url|url|address|host)$", re.IGNORECASE)
"""Names of settings that are never told, whoever wrote the component."""


def source_of(settings: Mapping[str, Any]) -> str:
    """The source with its settings."""
    source = settings["source"]
    told = [f"{name}={value!r}" for name, value in public(source).items() if name != "type"]
    return f"{source.get('type')}({', '.join(told)})"


def public(value: Any) -> Any:
    """Settings without those that do not change what is made, and without addresses; of a path the last part."""
    return _public(essence(value))


def _public(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _public(each) for name, each in value.items() if not SECRET.search(str(name)) and each is not None}
    if isinstance(value, list | tuple):
        return [_public(each) for each in value]
    if isinstance(value, PurePath):
        return value.name
    return _without_places(value) if isinstance(value, str) else value


def _without_places(text: str) -> str:
    """Without URLs, and of folders of a machine the last part."""
    text = re.sub(r"\w+://\S+", "(address)", text)
    whole = text.startswith(("/", "~", "./", "../")) and "\n" not in text
    return PurePath(text).name if whole else re.sub(r"(?<![\w/.])/(?:[^\s/]+/)+([^\s/]*)", r"\1", text)


def named(model: str) -> str:
    """The name of a model, which says so where it sees nothing."""
    return f"{model} (a stand-in)" if is_stand_in(model) else model


def is_stand_in(model: str) -> bool:
    """Whether a model answers from the truth of drawn scenes."""
    return model.rpartition("/")[2].startswith(STAND_IN)


def about_pass(own: Pass) -> dict[str, Any]:
    """The settings of a pass as it uses them, defaults too, without its engines, prompts and addresses."""
    told: dict[str, Any] = {}
    for name, value in vars(own).items():
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            told |= value._asdict()
        elif isinstance(value, int | float) and not name.startswith("_"):
            told[name] = ("no", "yes")[value] if isinstance(value, bool) else value
    return told


def prompts(passes: Mapping[str, Pass]) -> dict[str, str]:
    """The texts that the passes ask by, by pass and name."""
    told: dict[str, str] = {}
    for name, own in passes.items():
        for setting, value in vars(own).items():
            if setting == "prompts" and isinstance(value, Mapping):
                told |= {f"{name}, {prompt}": str(text) for prompt, text in value.items()}
            elif setting in ("prompt", "suffix") and value:
                told[f"{name}, {setting}"] = str(value)
    return told
