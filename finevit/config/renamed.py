"""Names of before: what settings and weights were called and are called now, for configs, options and checkpoints.

A config file, an option and a checkpoint are read through these tables, with one warning for each old name. Names stand in them
for good: what somebody trained with an old name must load with it.
"""

import logging
from collections.abc import Callable, Collection, MutableMapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.logging import print_log

from finevit.config.dotted import at, dicts
from finevit.config.options import ConfigError
from finevit.registry import kind_of


class Renamed(NamedTuple):
    """A setting that has another name now.

    ``where`` is the type of the component that has it, or the path of what holds it (``*`` for any part); ``old`` and ``new`` are
    dotted names from there; the last part may be an entry of a list. ``beside`` is the type of a component that must be there too:
    for one old name, the first row counts.
    """

    where: str
    old: str
    new: str
    beside: str = ""


_SCHEDULES = "batch_sampler.schedules"
TABLE = (
    Renamed("*_dataloader", "batch_sampler.text_length", f"{_SCHEDULES}.TokenizeDialogue.max_seq_len", beside="TokenizeDialogue"),
    Renamed("*_dataloader", "batch_sampler.text_length", f"{_SCHEDULES}.Tokenize.max_seq_len"),
    Renamed("*_dataloader", f"{_SCHEDULES}.Tokenize.max_length", f"{_SCHEDULES}.Tokenize.max_seq_len"),
    Renamed("*_dataloader", "batch_sampler.patch_drop", f"{_SCHEDULES}.DropPatches.ratio"),
    Renamed("*_dataloader", f"{_SCHEDULES}.DropPatches.share", f"{_SCHEDULES}.DropPatches.ratio"),
    Renamed("*_dataloader", "batch_sampler.mixture", f"{_SCHEDULES}.AskQuestions.task_weights"),
    Renamed("*_dataloader", f"{_SCHEDULES}.AskQuestions.weights", f"{_SCHEDULES}.AskQuestions.task_weights"),
    Renamed("*_dataloader", "batch_sampler.close_up", f"{_SCHEDULES}.CropToRegion.probability"),
    Renamed("*_dataloader", "dataset.text_length", "dataset.max_seq_len"),
    Renamed("Tokenize", "max_length", "max_seq_len"),
    Renamed("AllCaptions", "max_length", "max_seq_len"),
    Renamed("DropPatches", "share", "ratio"),
    Renamed("AskQuestions", "weights", "task_weights"),
    Renamed("AskQuestions", "most", "max_questions"),
    Renamed("pack_dialogues", "keys.asked", "keys.questions"),
    Renamed("FineViT", "arch.hidden", "arch.mlp_dim"),
    Renamed("FineViT", "recompute", "activation_checkpointing"),
    Renamed("HuggingFaceLLM", "recompute", "activation_checkpointing"),
    Renamed("TextTransformer", "hidden", "mlp_dim"),
    Renamed("MergeConnector", "hidden", "mlp_dim"),
    Renamed("PlainLLM", "hidden", "mlp_dim"),
    Renamed("SigmoidHead", "scale", "logit_scale"),
    Renamed("SigmoidHead", "bias", "logit_bias"),
    Renamed("SoftmaxHead", "scale", "logit_scale"),
)
WEIGHTS = {"head.log_scale": {"head.log_scale": "head.logit_scale", "head.bias": "head.logit_bias"}}
"""Where a checkpoint has the first weight, what it has under these names is called otherwise now."""


def rename_weights(weights: MutableMapping[str, Any]) -> None:
    """Gives the weights of a checkpoint their names of today, in place and in their order."""
    prefixes = {name.removesuffix(first): first for name in weights for first in WEIGHTS if str(name).endswith(first)}
    names = {f"{prefix}{old}": f"{prefix}{new}" for prefix, first in prefixes.items() for old, new in WEIGHTS[first].items()}
    for old in names.keys() & weights.keys():
        _warn_once(old, names[old])
    if names:
        items = [(names.get(name, name), value) for name, value in weights.items()]
        weights.clear()
        weights.update(items)


def rename_settings(
    settings: Any, *, quiet: bool = False, overrides: Callable[[str, str], bool | None] = lambda old, new: None
) -> None:
    """Gives the settings of a config their names of today, in place.

    Where both names are set, ``overrides`` says whether the old one does override the other, as a file overrides its bases, or is
    overridden; ``ConfigError`` where it says neither (None).
    """
    for path, node in list(dicts(settings)):
        for row in TABLE:
            *parents, name = row.old.split(".")
            holder = at(node, parents)
            if not isinstance(holder, dict | list) or name not in holder or not _fits(row, path, node):
                continue
            old, new = f"{path}.{row.old}".lstrip("."), f"{path}.{row.new}".lstrip(".")
            *parents, last = row.new.split(".")
            place: Any = _made(node, parents) if isinstance(holder, dict) else holder
            wins = last not in place or overrides(old, new)
            if wins is None:
                raise ConfigError(f"{old} is called {new} now, and both are set; take {old} out")
            if isinstance(holder, list):
                holder[holder.index(name)] = last
            elif wins:
                place[last] = _over(place.get(last), holder.pop(name))
            else:
                holder.pop(name)
            if not quiet:
                _warn(old, new)


def option_of_today(settings: Any, name: str, options: Collection[str]) -> str:
    """The name of an option today; ``ConfigError`` where an option of that name is given too."""
    parts = name.split(".")
    for length in range(len(parts)):
        path, node, rest = ".".join(parts[:length]), at(settings, parts[:length]), ".".join(parts[length:])
        for row in TABLE:
            if f"{rest}.".startswith(f"{row.old}.") and isinstance(node, dict) and _fits(row, path, node):
                old, new = f"{path}.{row.old}".lstrip("."), f"{path}.{row.new}".lstrip(".")
                today = new + name.removeprefix(old)
                if today in options:
                    raise ConfigError(f"--cfg-options {name} is called {today} now, and both are given; leave {name} out")
                _warn(old, new)
                return today
    return name


def _fits(row: Renamed, path: str, node: dict) -> bool:
    """Whether a row is about this part of a config."""
    if not fnmatchcase(path, row.where) and kind_of(node) != row.where:
        return False
    return not row.beside or any(kind_of(part) == row.beside for _, part in dicts(node))


def _made(node: dict, parts: list[str]) -> dict:
    """The dict of that name, made where there is none."""
    for part in parts:
        if not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]
    return node


def _over(base: Any, value: Any) -> Any:
    """A value in place of another one, as MMEngine merges a file into its bases."""
    both = isinstance(base, dict) and isinstance(value, dict)
    return Config._merge_a_into_b({"value": value}, {"value": base})["value"] if both else value


@cache
def _warn_once(old: str, new: str) -> None:
    """A run reads its checkpoint several times."""
    print_log(
        f"the checkpoint's weights {old} are called {new} now, and are taken as these", logger="current", level=logging.WARNING
    )


def _warn(old: str, new: str) -> None:
    print_log(f"{old} is called {new} now: rename it", logger="current", level=logging.WARNING)
