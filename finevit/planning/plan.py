"""The plan of a run: what is scheduled, and what each step will cost in patches, tokens, FLOPs, time and memory.

``finevit train --plan CONFIG`` makes it (:mod:`finevit.planning.planner`) and keeps it in the work dir; ``PlanHook`` then compares
a run with it (:mod:`finevit.engine.hooks.plan_hook`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from finevit.storage.durable import write_file
from finevit.storage.places import writing

FILE = "plan.json"
SETTINGS = ("model", "train_dataloader", "optim_wrapper", "param_scheduler", "train_cfg", "data_root")
"""What a step costs depends on these, and on the schedules among the hooks."""


@dataclass(frozen=True)
class Point:
    """One step of the plan: the values that its schedules have, and the predicted cost of a step of the whole batch.

    ``memory`` is the peak in bytes, ``seconds`` include the loader.
    """

    step: int
    values: Mapping[str, float]
    lr: float
    patches: float
    tokens: float
    flops: float
    seconds: float
    memory: float


@dataclass(frozen=True)
class Plan:
    """The whole plan. Between its ``points`` everything is a line.

    ``parts`` are the exact bytes of what is always there (parameters, gradients, optimiser states), ``calibration`` the steps that
    were really run, ``notes`` say what is extrapolated.
    """

    config: str
    key: str
    device: str
    made: str
    steps: int
    batch: int
    points: tuple[Point, ...]
    parts: Mapping[str, int]
    calibration: tuple[Mapping[str, float], ...]
    notes: tuple[str, ...] = ()

    def at(self, name: str, steps: Any) -> np.ndarray:
        """Predicted ``patches``, ``tokens``, ``flops``, ``seconds`` or ``memory`` of steps."""
        return np.interp(steps, [point.step for point in self.points], [getattr(point, name) for point in self.points])

    @cached_property
    def totals(self) -> dict[str, float]:
        """Sums over the run; of memory, the peak."""
        every = np.arange(self.steps)
        sums = {name: float(self.at(name, every).sum()) for name in ("patches", "tokens", "flops", "seconds")}
        return {"images": float(self.steps * self.batch), **sums, "memory": max(point.memory for point in self.points)}

    def save(self, work_dir: str | Path) -> Path:
        """Write ``plan.json``."""
        path = Path(work_dir) / FILE
        text = json.dumps({**asdict(self), "totals": self.totals}, indent=1) + "\n"
        with writing(path, "give another work dir with --work-dir"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, lambda file: file.write(text.encode()))
        return path

    @classmethod
    def load(cls, work_dir: str | Path) -> "Plan | None":
        """The plan of a work dir; None where there is none that can be read."""
        try:
            values = json.loads((Path(work_dir) / FILE).read_text())
            values.pop("totals")
            several = {name: tuple(values[name]) for name in ("calibration", "notes")}
            return cls(**{**values, **several, "points": tuple(Point(**point) for point in values["points"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None


def key_of(cfg: Config) -> str:
    """Identifies the settings on which the cost of the steps depends."""
    settings: dict[str, Any] = {name: cfg.get(name) for name in SETTINGS}
    settings["schedules"] = [hook for hook in cfg.get("custom_hooks") or () if "schedules" in hook]
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def device_name(device: torch.device) -> str:
    """The device for people, and to tell whether a plan was made on the same kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
