"""Steps of schedules given as shares of the run: ``end=0.5`` is half of ``train_cfg.max_iters``, however long the run is made."""

from typing import Any

from mmengine.config import Config

SCHEDULED = ("resolution", "schedules")
"""Settings below which schedules stand."""
STEPS = ("begin", "end")


def resolve_shares(cfg: Config) -> None:
    """A share of the run (0.0 to 1.0) becomes a step wherever a schedule names one: ``begin``, ``end``, ``milestones``.

    Whole numbers are steps already and stay. The resolved numbers are what the saved config shows. In a run too short to hold them
    all, the last of milestones at one step counts, and a ramp takes at least one step.
    """
    steps = (cfg.get("train_cfg") or {}).get("max_iters")
    for name, value in cfg.items():
        _walk(name, value, steps, inside=name in SCHEDULED)
    for index, item in enumerate(cfg.get("param_scheduler") or ()):  # MMEngine's, whose milestones are steps
        if isinstance(item, dict) and any(isinstance(item.get(name), float) for name in STEPS):
            within = "begin" in item and "end" not in item
            _resolve_ends(f"param_scheduler.{index}", item, steps)
            if within and isinstance(steps, int):  # MMEngine refuses to begin at the end, to which few steps round
                item["begin"] = max(min(item["begin"], steps - 1), 0)


def _walk(path: str, value: Any, steps: Any, inside: bool) -> None:
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _walk(f"{path}.{index}", item, steps, inside)
    elif isinstance(value, dict):
        if inside and isinstance(value.get("milestones"), list | tuple):
            value["milestones"] = _distinct(f"{path}.milestones", value["milestones"], steps)
        elif inside:
            _resolve_ends(path, value, steps)
        for name, item in value.items():
            _walk(f"{path}.{name}", item, steps, inside or name in SCHEDULED)


def _resolve_ends(path: str, value: dict, steps: Any) -> None:
    """``begin`` and ``end`` of a ramp in steps; given as shares, they are at least one apart."""
    given = {name: value[name] for name in STEPS if not isinstance(value.get(name), dict | None)}
    value |= {name: _step(f"{path}.{name}", step, steps) for name, step in given.items()}
    if "end" in given and any(isinstance(step, float) for step in given.values()):
        value["end"] = max(value["end"], (value.get("begin") or 0) + 1)


def _distinct(path: str, milestones: Any, steps: Any) -> list:
    """The milestones in steps; those that rounding brought to one step are one."""
    if not milestones or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in milestones):
        raise ValueError(f"{path}={milestones!r}: give pairs (step, value)")
    resolved = [(_step(path, step, steps), held) for step, held in milestones]
    return [
        milestone
        for milestone, (share, _), following in zip(resolved, milestones, [*resolved[1:], (None, None)], strict=True)
        if not (isinstance(share, float) and milestone[0] == following[0])
    ]


def _step(path: str, value: Any, steps: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, float):
        raise ValueError(f"{path}: {value!r} is no step; give a whole number, or a share of the run from 0.0 to 1.0")
    if not 0 <= value <= 1:
        raise ValueError(f"{path}: {value} is no step; give a whole number, or a share of the run from 0.0 to 1.0")
    if not isinstance(steps, int):
        raise ValueError(f"{path}: {value} is a share of the run, which needs train_cfg.max_iters; give a whole number of steps")
    return round(value * steps)
