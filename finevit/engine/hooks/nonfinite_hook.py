"""Steps whose loss or gradient is not finite: which samples they saw, and when a run of them is hopeless."""

import math
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from finevit.engine.checkpoints import save_now
from finevit.engine.optimizers import GuardedOptimWrapper
from finevit.hub.weights import newest_finite, not_finite
from finevit.registry import HOOKS
from finevit.unwrap import unwrapped

LIST = "nonfinite_steps.txt"
SHOWN = 8


class _Batch(NamedTuple):
    """A batch of one rank: what was not finite of its losses ("" where all were), and its samples."""

    wrong: str
    ids: tuple[str, ...]


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Counts and reports the steps that ``GuardedOptimWrapper`` (``BFloat16OptimWrapper``) skipped, and stops where they go on.

    Each is logged with the ids of its samples and listed in ``nonfinite_steps.txt`` of the work dir; ``skipped_steps`` counts them
    among the logged values. Losses that are not finite are left out of those values, so that a mean over the last steps is one of
    the finite ones. Where only the gradient was not finite, all samples of the step are named, of an accumulation all batches.

    Args:
        max_in_a_row: after so many skipped steps in a row the run stops, with a checkpoint of the weights as the last good step
            left them.
    """

    priority = "HIGHEST"

    def __init__(self, *, max_in_a_row: Annotated[int, Ge(1), "a whole number of steps"] = 5) -> None:
        self.max_in_a_row = max_in_a_row
        self._batches: list[_Batch] = []
        self._recent: list[str] = []

    def before_train(self, runner: Runner) -> None:
        if not isinstance(runner.optim_wrapper, GuardedOptimWrapper):
            kind = type(runner.optim_wrapper).__name__
            runner.logger.warning(f"optim_wrapper.type={kind} does not skip steps that are not finite; GuardedOptimWrapper does")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """All that belongs to the last step is done here: this is where a run can stop and be resumed."""
        if _count(runner, "in_a_row") >= self.max_in_a_row:
            self._stop(runner)

    def after_train(self, runner: Runner) -> None:
        self.before_train_iter(runner, 0)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        wrapper, losses = runner.optim_wrapper, outputs if outputs is not None else {}
        values = {name: torch.as_tensor(value).item() for name, value in losses.items()}
        wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
        for name in wrong:
            del losses[name]
        if not isinstance(wrapper, GuardedOptimWrapper):
            return
        ids = tuple(str(sample) for sample in (data_batch or {}).get("id", ()))
        self._batches.append(_Batch(", ".join(f"{name} is {value}" for name, value in wrong.items()), ids))
        if wrapper.should_update():
            if wrapper.skipped:
                self._report(runner)
            elif _count(runner, "in_a_row"):
                _set(runner, in_a_row=0)
            self._batches = []

    def _report(self, runner: Runner) -> None:
        """Says what happened; every rank comes here."""
        batches = [batch for rank in all_gather_object(self._batches) for batch in rank]
        guilty = [batch for batch in batches if batch.wrong] or batches
        ids = [sample for batch in guilty for sample in batch.ids]
        total, in_a_row = _count(runner, "total") + 1, _count(runner, "in_a_row") + 1
        _set(runner, total=total, in_a_row=in_a_row)
        runner.message_hub.update_scalar("train/skipped_steps", total)
        self._recent = [*(self._recent if in_a_row > 1 else []), *ids]
        what = f"step {runner.iter + 1} skipped: {guilty[0].wrong or 'the gradient is not finite, though the loss is'}"
        runner.logger.warning(f"{what}; {in_a_row} in a row, {total} in all; samples: {_some(ids)}")
        if is_main_process():
            with (Path(runner.work_dir) / LIST).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{what}; samples: {', '.join(ids) or 'unknown'}\n")

    def _stop(self, runner: Runner) -> None:
        """Every rank comes here. A run that is resumed from the checkpoint counts anew."""
        _set(runner, in_a_row=0)
        checkpoint = save_now(runner)
        raise ValueError(
            f"{self.max_in_a_row} steps in a row were not finite, as many as NonFiniteHook.max_in_a_row allows; "
            f"{_weights_before(runner, checkpoint)}. Samples: {_some(self._recent)} (all in {Path(runner.work_dir) / LIST}). Look "
            "at them, or go on from the weights with smaller steps: --cfg-options load_from=CHECKPOINT, a lower "
            "optim_wrapper.optimizer.lr, a lower optim_wrapper.clip_grad.max_norm, or a longer warmup"
        )


def _weights_before(runner: Runner, checkpoint: str) -> str:
    """Where there are weights to go on from, for people."""
    odd = not_finite(unwrapped(runner.model).state_dict())
    if not odd and (not is_main_process() or "://" in checkpoint or newest_finite([Path(checkpoint)])):
        return f"the weights before them are in {checkpoint}"
    told = f"the weights before them are not finite either ({_some(odd)})" if odd else f"{checkpoint} is not whole and finite"
    folder = Path(checkpoint).parent
    found = newest_finite(folder.glob(f"*{Path(checkpoint).suffix}")) if folder.is_dir() else ""
    return (
        f"{told}; the newest checkpoint that is finite is {found}" if found else f"{told}, and no checkpoint in {folder} is finite"
    )


def _count(runner: Runner, name: str) -> int:
    """A count of this run; they stand in the message hub, and so in checkpoints."""
    return runner.message_hub.get_info(f"nonfinite_{name}", 0)


def _set(runner: Runner, **counts: int) -> None:
    for name, count in counts.items():
        runner.message_hub.update_info(f"nonfinite_{name}", count)


def _some(ids: list[str]) -> str:
    """The first ids, for people."""
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return ", ".join(ids[:SHOWN]) + more if ids else "unknown, for the batch has no 'id'"
