"""Where the weights of a model's parts come from: what is loaded is told in a line; what is frozen and random is warned of.

A part that knows of it has ``random``: whether its weights are those that its constructor drew. It may have ``function``, what
decides its output without a trace in the shapes of its tensors, and ``function_of(config)``, the same of a config.
"""

import logging
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from finevit.config.recorded import parse
from finevit.config.renamed import rename_settings
from finevit.registry import kind_of

LEARNED = 0.5
"""A part of which less than this share of the parameters is trained counts as frozen: adapters leave it so."""


def mark(part: Any, *, random: bool = True) -> None:
    """Gives a part ``random``, which ends when all of its tensors are loaded."""
    part.random, part.told = random, False
    part.register_load_state_dict_pre_hook(_loaded)


def _loaded(part: Any, state: Mapping[str, Tensor], prefix: str, *_details: object) -> None:
    own = part.state_dict()
    if all(f"{prefix}{name}" in state and state[f"{prefix}{name}"].shape == value.shape for name, value in own.items()):
        part.random = False


def marked(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Dotted name and part of those that know."""
    return ((name, part) for name, part in model.named_modules() if "random" in vars(part))


def note(part: Any, origin: str) -> None:
    """What MMEngine's list of initialised weights says of the part's, which it else takes for what nobody touched."""
    notes = getattr(part, "_params_init_info", {})
    for parameter in part.parameters():
        if parameter in notes:
            notes[parameter].update(init_info=origin, tmp_mean_value=parameter.data.mean().cpu())


def say(line: str, level: int = logging.INFO) -> None:
    """To the log of the run."""
    print_log(line, logger="current", level=level)


def warn_if_frozen(part: Any, name: str, learned: float) -> None:
    """Once: that a part, of whose parameters the share ``learned`` is trained, keeps random weights."""
    if part.told or not part.random or learned >= LEARNED:
        return
    part.told = True
    how = f"all but {learned:.1%} of it is frozen" if learned else "it is frozen"
    pretrained = (getattr(part, "init_cfg", None) or {}).get("type") == "Pretrained"
    setting = f"model.{name}.init_cfg.checkpoint" if pretrained else "load_from"
    say(
        f"model.{name}: its weights are RANDOM and {how}: what is trained beside it learns from random features. Load weights, "
        f"such as --cfg-options {setting}=CHECKPOINT, or train it; go on where random features are what you want to compare with",
        logging.WARNING,
    )


def trained_fraction(part: nn.Module, rates: Mapping[int, float]) -> float:
    """How much of the part's parameters is trained; ``rates`` by the parameters' ids, where an optimiser is known."""
    sizes = [(parameter.numel(), parameter.requires_grad and rates.get(id(parameter), 1.0) != 0) for parameter in part.parameters()]
    return sum(size for size, trained in sizes if trained) / max(1, sum(size for size, _ in sizes))


def changes(part: Any, checkpoint: Mapping[str, Any], name: str) -> list[str]:
    """What decides the part's function and is other than the config in a checkpoint says of the part of that name."""
    config = _config(checkpoint, name)
    if not hasattr(part, "function_of") or kind_of(config) != type(part).__name__:
        return []
    then = part.function_of(config)
    return [f"{key} was {then[key]}, is {now}" for key, now in part.function.items() if then[key] != now]


def _config(checkpoint: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    text = (checkpoint.get("meta") or {}).get("cfg")
    try:
        settings = deepcopy(dict(text)) if isinstance(text, Mapping) else parse(text or "")
        rename_settings(settings, quiet=True)
    except ValueError:  # of other programs: anything
        return {}
    node = settings.get("model")
    for key in filter(None, name.split(".")):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}
