"""Compares a run with the plan that was made for it."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from finevit.console import say
from finevit.planning.memory import GIB, peak, reset_peak
from finevit.planning.plan import Plan, device_name, key_of
from finevit.registry import HOOKS

WARM_UP = 2
"""The first steps of a run, whose seconds tell nothing: workers start, caches fill."""


@HOOKS.register_module()
class PlanHook(Hook):
    """Checks the prediction of ``finevit train --plan`` where the work dir holds one: logged at the end, and ``plan_check.json``.

    Predicted and seen are means over the steps of this run, of the main rank; memory is the peak. A plan of other settings is not
    compared, and of one that was made on another device only patches and tokens are.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.found: dict[str, dict[str, float]] = {}
        self.steps: list[int] = []
        self.seen: dict[str, list[float]] = {}
        self._begin: float | None = None

    def before_train(self, runner: Runner) -> None:
        plan = Plan.load(runner.work_dir) if is_main_process() else None
        if plan and plan.key != key_of(runner.cfg):
            runner.logger.warning("plan: plan.json of the work dir is of other settings, and is not compared with this run")
            plan = None
        self.plan, self.steps, self._begin = plan, [], None
        self.seen = {name: [] for name in ("patches", "tokens", "seconds", "memory")}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        device = next(runner.model.parameters()).device
        if self.plan and device.type != "cuda":  # there, MMEngine's log resets the peak
            reset_peak(device)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        if self.plan is None or data_batch is None:
            return
        now, texts = time.perf_counter(), data_batch.get("texts") or data_batch.get("dialogues")
        begin = self._begin if len(self.steps) >= WARM_UP else None
        self.steps.append(runner.iter)
        self.seen["patches"].append(sum(data_batch["images"].seqlens))
        self.seen["tokens"].append(sum(texts.seqlens) if texts else 0)
        self.seen["seconds"].append(np.nan if begin is None else now - begin)
        self.seen["memory"].append(peak(next(runner.model.parameters()).device))
        self._begin = now

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._begin = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._begin = None

    def after_train(self, runner: Runner) -> None:
        if self.plan is None or not self.steps:
            return
        device = device_name(next(runner.model.parameters()).device)
        same = self.plan.device == device
        found = self.found = compare(
            self.plan, self.steps, {n: v for n, v in self.seen.items() if same or n in ("patches", "tokens")}
        )
        (Path(runner.work_dir) / "plan_check.json").write_text(json.dumps({"steps": len(self.steps), **found}, indent=1) + "\n")
        say(summary(found), runner.logger)
        if not same:
            say(f"plan: made on {self.plan.device}; on {device}, its time and memory are not compared", runner.logger)


def compare(plan: Plan, steps: list[int], seen: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Of each quantity ``predicted``, ``seen``, and ``off``: by what share the run was above the plan. Absent where none was seen.

    Means over the steps at which it is known (not NaN); of memory, the highest.
    """
    found = {}
    for name, values in seen.items():
        known = ~np.isnan(values)
        mean = np.max if name == "memory" else np.mean
        if known.any() and np.any(np.asarray(values)[known]):
            predicted = float(mean(plan.at(name, np.asarray(steps)[known])))
            actual = float(mean(np.asarray(values)[known]))
            found[name] = {"predicted": predicted, "seen": actual, "off": actual / predicted - 1}
    return found


def summary(found: Mapping[str, Mapping[str, float]]) -> str:
    """The line for people."""
    names = {"patches": "patches a step {:,.0f}", "tokens": "text tokens a step {:,.0f}", "seconds": "seconds a step {:.3f}"}
    lines = []
    for name, values in found.items():
        label, _, form = names.get(name, "memory {:.2f} GiB").rpartition(" {")
        form, scale = "{" + form, GIB if name == "memory" else 1
        said, was = form.format(values["predicted"] / scale), form.format(values["seen"] / scale)
        lines.append(f"{label} {said} predicted, {was} seen ({100 * values['off']:+.1f} %)")
    return "plan: " + "; ".join(lines)
