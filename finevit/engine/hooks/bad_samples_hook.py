"""Samples that could not be used: counted and listed; a run with too many of them stops."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from mmengine.hooks import Hook
from mmengine.runner import Runner
from pydantic import NonNegativeInt

from finevit.contracts import BadSample
from finevit.registry import HOOKS
from finevit.signatures import Fraction
from finevit.storage.places import Spared


@HOOKS.register_module()
class BadSamplesHook(Hook):
    """Counts the samples that could not be used, lists them in ``bad_samples.txt`` of the work dir, and stops a hopeless run.

    Images of the validation are listed once a run; the later validations say how many they lack.

    Args:
        max_share: the run stops, with the list, where more than this share of the entries was left out when the data was opened,
            or once more than this share of the samples seen is bad. A sample that is met in every epoch counts once.
        after: number of samples seen before ``max_share`` is looked at; at the latest, it is when all of a small data set was.
        at_least: fewer bad samples than this never stop a run: one bad image of nine is no reason.
        show: how many are printed one by one.
    """

    priority = "VERY_HIGH"

    def __init__(
        self,
        *,
        max_share: Annotated[Fraction, "a share of the samples"] = 0.1,
        after: NonNegativeInt = 200,
        at_least: NonNegativeInt = 3,
        show: NonNegativeInt = 5,
    ) -> None:
        self.max_share, self.after, self.at_least, self.show = max_share, after, at_least, show
        self.seen, self.size = 0, math.inf
        self.bad: list[str] = []
        self.held_out: list[str] = []
        self._lacking: dict[str, None] = {}
        self._listing = Spared("bad_samples.txt")

    def before_train(self, runner: Runner) -> None:
        dataset = runner.train_dataloader.dataset
        self.size = len(dataset)
        left_out = getattr(getattr(dataset, "source", None), "skipped", None)
        if left_out is not None and left_out.count:
            self._write(runner, left_out.listed)
            self._judge(left_out.count, left_out.seen, left_out.listed, "entries were left out")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if data_batch is None:
            return
        skipped = data_batch.get("skipped", [])
        self.seen += len(data_batch["images"].seqlens) + len(skipped)
        if not skipped:
            return
        self._report(runner, skipped)
        different = list(dict.fromkeys(self.bad))
        if self.seen >= min(self.after, self.size):
            self._judge(len(different), int(min(self.seen, self.size)), different, "samples could not be used")

    def before_val_epoch(self, runner: Runner) -> None:
        self._lacking = {}

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence[dict] | None = None
    ) -> None:
        self._lacking |= dict.fromkeys((data_batch or {}).get("skipped", []))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not self._lacking:
            return
        self.hold_out(runner, list(self._lacking))
        lacking = f"{len(self._lacking):,} of {len(runner.val_dataloader.dataset):,} images are left out"
        runner.logger.warning(f"validation at step {runner.iter}: {lacking}; the list is {self._file(runner)}")

    def hold_out(self, runner: Runner, messages: Sequence[str]) -> None:
        """Lists those images of a validation that were not listed before."""
        new = [message for message in messages if message not in self.held_out]
        for message in new[: max(0, self.show - len(self.held_out))]:
            runner.logger.warning(f"left out of the validation: {message}")
        self.held_out += new
        self._write(runner, new)

    def after_train(self, runner: Runner) -> None:
        if self.bad:
            runner.logger.warning(f"{len(self.bad)} of {self.seen} samples were skipped; the list is {self._file(runner)}")

    def _judge(self, bad: int, seen: int, messages: Sequence[str], what: str) -> None:
        """Raises ``BadSample`` with the list where too many are bad."""
        if bad >= self.at_least and bad > self.max_share * seen:
            raise BadSample(
                f"{bad:,} of {seen:,} {what}, more than the share of {self.max_share:.0%} that BadSamplesHook.max_share allows. "
                "Repair or remove them, or raise the share:\n" + "\n".join(messages)
            )

    def _report(self, runner: Runner, skipped: list[str]) -> None:
        for message in skipped:
            if len(self.bad) < self.show:
                runner.logger.warning(f"skipped: {message}")
            elif len(self.bad) == self.show:
                runner.logger.warning(f"skipped more; from here on they are only listed in {self._file(runner)}")
            self.bad.append(message)
        self._write(runner, skipped)

    def _write(self, runner: Runner, messages: Sequence[str]) -> None:
        with self._listing.writing(runner.logger), self._file(runner).open("a") as file:
            file.writelines(f"{message}\n" for message in messages)

    @staticmethod
    def _file(runner: Runner) -> Path:
        suffix = f".rank{runner.rank}" if runner.rank else ""
        return Path(runner.work_dir) / f"bad_samples{suffix}.txt"
