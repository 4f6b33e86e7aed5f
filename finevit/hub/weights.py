"""Weights of a checkpoint file compared with a model, and numbers of it that are not finite, by name."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from mmengine.runner import CheckpointLoader
from torch import Tensor

from finevit.hub.untrusted import load, told
from finevit.suggest import missing
from finevit.unwrap import unwrapped

SHOWN = 20
"""So many keys are listed in a message."""
NOT_FINITE = "holds numbers that are not finite"


def read_checkpoint(file: str | Path, *, setting: str, remedy: str) -> dict[str, Any]:
    """What a file holds, or an address that MMEngine knows; ``ValueError`` names the ``setting`` that gave one of no use."""
    given = f"{setting}={str(file)!r}"
    try:
        content = _load(str(file))
    except Exception as error:  # damaged files raise nearly anything
        absent = "://" not in str(file) and not Path(file).expanduser().exists()
        raise ValueError(f"{given}{f': {missing(Path(file))}' if absent else f' {told(error)}'}; {remedy}") from error
    if wrong := _wrong(content):
        raise ValueError(f"{given} {wrong}; {remedy}")
    return content


def _wrong(content: Any) -> str:
    """What keeps a file's content from being a checkpoint, for people."""
    held = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(held, Mapping):
        return f"holds no weights by name but a {type(held).__name__}"
    if odd := [name for name in held if not isinstance(name, str)]:
        return f"holds weights under {odd[0]!r}, which is no name"
    return ""


def _load(file: str) -> Any:
    if "://" in file:
        return CheckpointLoader.load_checkpoint(file, map_location="cpu", logger="silent")
    return load(file, mmap=True)


def weights_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a training run's checkpoint, or of a file that holds nothing else, by their names in the model."""
    return {name.removeprefix("module."): value for name, value in checkpoint.get("state_dict", checkpoint).items()}


def under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights of the part ``prefix``, such as ``backbone.`` (the dot may be left out), by their names in the part."""
    prefix = f"{prefix.removesuffix('.')}." if prefix else ""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _has_numbers(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_meta


def differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, str]:
    """Which keys are missing, unexpected or of another shape, and which of these, by key."""
    faults = {key: "missing" for key in wanted if key not in found}
    faults |= {key: "unexpected" for key in found if key not in wanted}
    faults |= {key: f"is no tensor but a {type(value).__name__}" for key, value in found.items() if not _has_numbers(value)}
    shapes = {key: (list(found[key].shape), list(wanted[key].shape)) for key in wanted if key in found and key not in faults}
    return faults | {key: f"is {there}, wanted {here}" for key, (there, here) in shapes.items() if there != here}


def resample_patches(found: dict[str, Tensor], name: str, patch: int) -> str:
    """Makes the patch embedding ``name`` one for patches of ``patch`` pixels a side; what was done, for people, or nothing.

    FlexiViT's pseudo-inverse (Beyer et al. 2023, section 3.4): on patches resized as much, its outputs are those before.
    """
    from timm.layers import resample_patch_embed

    weight = found.get(name)
    side = 0 if weight is None else math.isqrt(weight.shape[-1] // 3)
    if weight is None or weight.ndim != 2 or side == patch or weight.shape[1] != 3 * side * side:
        return ""
    found[name] = resample_patch_embed(weight.unflatten(1, (3, side, side)), [patch, patch]).flatten(1)
    return f"patch embedding resampled from {side} x {side} to {patch} x {patch} pixels"


def check_fit(
    wanted: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    *,
    where: str,
    remedy: str,
    prefix: str = "",
    listing: Path | None = None,
) -> None:
    """``ValueError`` lists the keys, each behind ``prefix``, that differ or whose numbers are not finite; see :func:`refuse`."""
    faults = differences(wanted, found)
    faults |= dict.fromkeys(not_finite({key: found[key] for key in wanted if key not in faults}), NOT_FINITE)
    if faults:
        refuse({f"{prefix}{key}": what for key, what in faults.items()}, where=where, remedy=remedy, listing=listing)


def not_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """The names of weights and statistics with numbers that are not finite."""
    return [name for name, value in weights.items() if not value.isfinite().all()]


def refuse(faults: Mapping[str, str], *, where: str, remedy: str, listing: Path | None = None) -> NoReturn:
    """Raises the ``ValueError`` about keys that do not fit, rare faults first; a list too long for it goes to ``listing``."""
    counts = Counter(faults.values())
    lines = [f"{key}: {faults[key]}" for key in sorted(faults, key=lambda key: counts[faults[key]])]
    more = f"\n  and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    if more and listing:
        listing.write_text("\n".join(lines) + "\n")
        more += f", all of them in {listing}"
    raise ValueError(f"{where}: {len(lines)} keys do not fit:\n  " + "\n  ".join(lines[:SHOWN]) + f"{more}\n{remedy}")


APART = ("state_dict", "meta", "message_hub")
"""Parts of a checkpoint that are no state of the optimisation."""


def odd_state(checkpoint: Mapping[str, Any]) -> list[str]:
    """Where optimiser, schedules and averages have numbers that are not finite."""
    return list(dict.fromkeys(path for part in checkpoint.keys() - set(APART) for path in _odd(checkpoint[part], part, set())))


def _odd(value: Any, path: str, seen: set[int]) -> Iterator[str]:
    if isinstance(value, Tensor):
        if not value.isfinite().all():
            yield path
    elif isinstance(value, float):
        if math.isnan(value) or (math.isinf(value) and path.startswith("optimizer.")):  # bounds of schedules may be infinite
            yield path
    elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
        seen.add(id(value))
        for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _odd(each, f"{path}.{key}", seen)


def check_finite(runner: Any, checkpoint: Mapping[str, Any]) -> None:
    """``ValueError`` where a run would take over weights or statistics that are not finite or, to go on, any other such state."""
    own, weights = unwrapped(runner.model).state_dict(), weights_of(checkpoint)
    fits = {name: weights[name] for name in weights.keys() - differences(own, weights).keys()}
    odd = sorted(name for name in not_finite(fits) if own[name].isfinite().all())
    odd += odd_state(checkpoint) if runner._resume else []
    if odd:
        file = Path(str(runner._load_from))
        found = newest_finite(file.parent.glob(f"*{file.suffix}"), state=runner._resume) if file.is_file() else ""
        offer = f", such as {found}, the newest beside it that is finite" if found else ""
        where = f"{'resume' if runner._resume else 'load_from'}={runner._load_from!r}"
        refuse(dict.fromkeys(odd, NOT_FINITE), where=where, remedy=f"give another checkpoint{offer}")


def newest_finite(paths: Iterable[Path], *, state: bool = False) -> str:
    """The first whole file of finite weights, newest first; with ``state`` of all that a run goes on from. Empty: none is."""
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            content = read_checkpoint(path, setting="checkpoint", remedy="")
            if not not_finite(weights_of(content)) and not (state and ("optimizer" not in content or odd_state(content))):
                return str(path)
        except (ValueError, AttributeError):  # of another kind
            continue
    return ""
