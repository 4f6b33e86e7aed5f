"""Whether what a checkpoint holds is of the kinds that MMEngine and the tools use without a look."""

from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any

from torch import Tensor

COUNT, NUMBER, SEED, COUNTS, STEPS = "whole number of at least 0", "number", "seed", "dict of numbers", "list of whole numbers"
RESUMED = "dict in which all is True"
"""Kinds, in words."""
META = {"iter": COUNT, "epoch": COUNT, "seed": SEED, "data_order": "dict", "backbone": "dict"}
INFO = {
    **dict.fromkeys(("nonfinite_total", "nonfinite_in_a_row", "iter", "epoch", "max_iters", "max_epochs"), COUNT),
    **{"dialogues": COUNTS, "captions": "dict", "keep_ckpt_ids": STEPS, "last_ckpt": "text", "best_ckpt": "text"},
}
"""Of what the message hub keeps, what is used again."""


def wrong_kind(content: Any) -> str:
    """What of a checkpoint is of a kind that nobody could use, for people; empty where nothing is."""
    parts = isinstance(content, dict) and ("state_dict" in content or isinstance(content.get("meta"), dict))
    return next(_wrong(content), "") if parts else ""


def _wrong(content: Mapping[str, Any]) -> Iterator[str]:
    if (weights := content.get("state_dict")) is not None and not isinstance(weights, dict):
        yield f"holds no weights by name but a {type(weights).__name__}"
    yield from _parts(content, dict.fromkeys(("meta", "message_hub", "optimizer"), "dict"), "")
    yield from _parts(content.get("meta") or {}, META, "meta.")
    if hub := content.get("message_hub"):
        yield from _parts(hub, {"log_scalars": "dict", "runtime_info": "dict", "resumed_keys": RESUMED}, "message_hub.")
        info = hub.get("runtime_info") or {}
        scores = {name: NUMBER for name in info if str(name).startswith("best_score")}
        yield from _parts(info, {**INFO, **scores}, "message_hub.runtime_info.")
        yield from _parts(info.get("captions") or {}, {"totals": COUNTS, "limits": STEPS}, "message_hub.runtime_info.captions.")
    schedulers = content.get("param_schedulers")
    for name, each in schedulers.items() if isinstance(schedulers, dict) else [("", schedulers)]:
        if each is not None and not (isinstance(each, list | tuple) and all(isinstance(one, dict) for one in each)):
            yield _told(".".join(filter(None, ("param_schedulers", str(name)))), "list of dicts", each)


def _parts(held: Mapping[str, Any], kinds: Mapping[str, str], path: str) -> Iterator[str]:
    for name, kind in kinds.items():
        if held.get(name) is not None and not _is(held[name], kind):
            yield _told(f"{path}{name}", kind, held[name])


def _told(path: str, kind: str, value: Any) -> str:
    shown = repr(value) if isinstance(value, str | int | float | bool) else ""
    return f"holds under {path} no {kind} but {shown[:60] or f'a {type(value).__name__}'}"


def _is(value: Any, kind: str) -> bool:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    match kind:
        case "dict":
            return isinstance(value, dict)
        case "text":
            return isinstance(value, str)
        case "number":
            return isinstance(value, Real) and not isinstance(value, bool)
        case "dict in which all is True":
            return isinstance(value, dict) and all(each is True for each in value.values())
        case "dict of numbers":
            return isinstance(value, dict) and all(_is(each, NUMBER) for each in value.values())
        case "list of whole numbers":
            return isinstance(value, list | tuple | set) and all(_is(each, COUNT) for each in value)
    return whole and 0 <= value < (2**32 if kind == SEED else 2**63)


def unlike(own: Any, found: Any, path: str) -> Iterator[str]:
    """Where a state that was found cannot take the place of ``own``: of what both have, what is of another kind or shape."""
    if isinstance(own, Mapping) and isinstance(found, Mapping):
        for key in own.keys() & found.keys():
            yield from unlike(own[key], found[key], f"{path}.{key}")
    elif isinstance(own, list | tuple) and isinstance(found, list | tuple) and len(own) == len(found):
        for index, pair in enumerate(zip(own, found, strict=True)):
            yield from unlike(*pair, f"{path}.{index}")
    elif own is not None and not _alike(own, found):
        yield f"{path} is {_short(found)}, wanted {_short(own)}"


def _alike(own: Any, found: Any) -> bool:
    if isinstance(own, Mapping | list | tuple):
        return False
    if isinstance(own, Tensor) and isinstance(found, Tensor):
        return own.shape == found.shape or (own.numel() == found.numel() == 1)
    numbers = [isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1) for value in (own, found)]
    return all(numbers) if any(numbers) else isinstance(found, type(own))


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}"
    return repr(value)[:60] if isinstance(value, str | Real) else f"a {type(value).__name__}"
